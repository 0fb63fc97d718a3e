"""Prints a plan, for `ingest plan` and `ingest run --dry-run`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ingest.cli import help_groups
from ingest.cli.output import terminal
from ingest.core import display
from ingest.core.errors import NotLiveError

if TYPE_CHECKING:
    from ingest.core.settings import Settings
    from ingest.tasks.plan import Plan

details = click.option(
    "--details",
    is_flag=True,
    cls=help_groups.Grouped,
    group="Output",
    help="List every product that a run would change.",
)

estimate = click.option(
    "--estimate", is_flag=True, cls=help_groups.Grouped, group="Output",
    help="Predict memory, disk and hours from 200 products; --details shows the formulas.",
)  # fmt: skip


def show_estimate(settings: Settings, *, as_json: bool, quiet: bool, details: bool) -> None:
    """Measure a sample and print the estimate for the whole catalog."""
    from ingest.tasks import estimate as estimates
    from ingest.tasks import sample

    with terminal.follow(quiet=quiet) as (progress, stop):
        found = sample.measure(settings, progress, stop)
    figures = estimates.figures(found.catalog)
    if as_json:
        content = {**asdict(found), "figures": {name: asdict(figure) for name, figure in figures.items()}}
        display.echo_json(content)
        return
    display.echo(
        f"{found.catalog.products:,} products with {found.model}, estimated from {found.pictures} images of "
        f"{found.sampled} products:"
    )
    for name, figure in figures.items():
        formula = f"   {figure.formula}" if details else ""
        display.echo(f"  {name.replace('_', ' '):<22}{estimates.display(figure):>16}{formula}")
    if "download" not in figures:
        display.echo("  note: no image was downloaded, so the download time is unknown (--download-missing)")


def show(settings: Settings, *, as_json: bool, quiet: bool, details: bool) -> None:
    """Make the plan and print it; raises NotLiveError and TooManySkippedError as a run would."""
    from ingest.tasks import plan

    with terminal.follow(quiet=quiet) as (progress, stop):
        found = plan.plan(settings, progress, stop)
    failure = plan.failure(found, settings.max_skipped)
    if as_json:
        _print_json(found)
    else:
        if isinstance(failure, NotLiveError):
            display.echo(str(failure))
        _print(found, details=details)
    if failure is not None:
        raise failure


def _print(found: Plan, *, details: bool) -> None:
    changed = sum(found.changed.values())
    by = ", ".join(f"{what} {count:,}" for what, count in found.changed.items() if count)
    display.echo(f"{found.products:,} products against {found.collection}, nothing was changed:")
    for count, what in (
        (found.added, "to add"),
        (changed, f"to change ({by})" if by else "to change"),
        (found.remove, "to delete"),
        (found.unchanged, "unchanged"),
        (found.skipped, "skipped" + "".join(f"; {reason} {count:,}" for reason, count in found.reasons.items())),
    ):
        display.echo(f"  {count:>8,} {what}")
    terminal.tell_skipped(found.reasons, found.examples)
    for count, what in (
        (found.embed, "of those to add or change must be embedded"),
        (found.fetch, "images would be downloaded first; their products depend on the result"),
        (found.stale, "of the skipped products keep their row from an earlier run (--drop-failed deletes them)"),
        (found.gone, "rows are not in the catalog (--prune deletes them)"),
        (found.foreign, "rows were not written by ingest and stay"),
        (found.carried, f"rows would be carried over from {found.served}, though their products fail or are gone"),
    ):
        if count:
            display.echo(f"  {count:>8,} {what}")
    for what in found.catalog_changes:
        display.echo(f"  note: {what}")
    for what in found.also:
        display.echo(f"  note: a run would also {what}")
    if found.exports_refused:
        display.echo(f"  note: a run would not replace the exported files: {found.exports_refused}")
    if found.refused:
        display.echo(f"  note: nothing would be deleted: {found.refused}")
    moves = ", and would not switch" if found.unserved else f", and switches when {found.collection} is complete"
    moves = "" if found.served == found.collection or found.unwritten else moves
    display.echo(f"  note: the alias serves {found.served or 'nothing'}{moves}")
    if details:
        display.echo()
        for product_id, change in found.changes():
            display.echo(f"  {change:<16}{product_id}")


def _print_json(found: Plan) -> None:
    """Print one JSON object, with one line per product, because there may be millions."""
    changes = ({"product_id": product_id, "change": change} for product_id, change in found.changes())
    display.echo_long_json({**asdict(found), "details": ""}, "changes", changes)
