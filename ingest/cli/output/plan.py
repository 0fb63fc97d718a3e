"""Prints a plan, for `ingest plan` and `ingest run --dry-run`."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ingest.cli import help_groups
from ingest.cli.output import terminal
from ingest.core import display
from ingest.core.errors import NotLiveError
from ingest.core.wording import quantity

if TYPE_CHECKING:
    from ingest.core.settings import Settings
    from ingest.tasks.plan import Plan

_SMALL_GB = 1.0
"""Memory below which nobody needs to compare ways of saving it."""
_LABELS = {
    "query_memory": ("memory in Milvus: index, ids and fields", False),
    "query_nodes": ("query nodes", True),
    "half_precision_memory": ("memory with half precision", True),
    "diskann_memory": ("memory with DiskANN", True),
    "diskann_disk": ("disk with DiskANN", True),
    "mmap_disk": ("disk with mmap", True),
    "vectors": ("the vectors alone", True),
    "hnsw": ("the vectors with their HNSW index", True),
    "run_memory": ("memory of a run", True),
    "store_disk": ("disk for the embedding store", False),
    "cache_disk": ("disk for the images", False),
    "download": ("time to download", False),
    "decode": ("time to decode on this machine", False),
    "embed": ("time to embed on this machine", False),
}
"""What each figure of an estimate is called, and whether it matters for large catalogs only."""

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
    pictures = f"{quantity(found.pictures, 'image')} of {quantity(found.sampled, 'product')}"
    display.echo(f"{quantity(found.catalog.products, 'product')} with {found.model}, estimated from {pictures}:")
    is_small = figures["query_memory"].value < _SMALL_GB
    for name, (label, of_large) in _LABELS.items():
        if name not in figures or (of_large and is_small and not details):
            continue
        formula = f"   {figures[name].formula}" if details else ""
        display.echo(f"  {label:<44}{estimates.display(figures[name]):>12}{formula}")
    if "download" not in figures:
        display.echo(f"  {'time to download':<44}{'unknown':>12}   --download-missing measures it")
    if instead := estimates.advice(figures, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")):
        display.echo(instead)
    if is_small and not details:
        display.echo("Any Milvus holds that, Milvus Lite too. --details shows every figure and its formula.")


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
        _print(found, details=details, quiet=quiet)
    if failure is not None:
        raise failure


def _print_line(found: Plan) -> None:
    """Print the plan in one line."""
    display.echo(
        f"{quantity(found.products, 'product')}: {found.added:,} to add, {sum(found.changed.values()):,} to change, "
        f"{found.remove:,} to delete, {found.unchanged:,} unchanged, {found.skipped:,} skipped"
    )


def _print(found: Plan, *, details: bool, quiet: bool) -> None:
    if quiet:
        _print_line(found)
        return
    changed = sum(found.changed.values())
    by = ", ".join(f"{what} {count:,}" for what, count in found.changed.items() if count)
    state = "nothing was changed" if found.exists else "which does not exist yet; nothing was changed"
    display.echo(f"{quantity(found.products, 'product')} for {found.collection}, {state}:")
    for count, what in (
        (found.added, "to add"),
        (changed, f"to change ({by})" if by else "to change"),
        (found.remove, "to delete"),
        (found.unchanged, "unchanged"),
        (found.skipped, "skipped"),
    ):
        display.echo(f"  {count:>8,} {what}")
    if found.fields:
        display.echo(f"  fields that change: {', '.join(f'{name} {count:,}' for name, count in found.fields.items())}")
    terminal.tell_skipped(found.reasons, found.examples)
    _print_notes(found)
    if details:
        display.echo()
        for product_id, change, fields in found.changes():
            display.echo(f"  {change:<16}{product_id}")
            for one in fields:
                display.echo(f"  {'':<16}  {one.name}: {one.old} → {one.new}")


def _print_notes(found: Plan) -> None:
    """Print what else is to know about a run."""
    for count, one, many, what in (
        (found.embed, "of those to add or change must", "of those to add or change must", "be embedded"),
        (found.fetch, "image", "images", "would be downloaded first; the products depend on the result"),
        (found.stale, "skipped product keeps its", "skipped products keep their",
         "row from an earlier run (--drop-failed deletes)"),
        (found.gone, "row is", "rows are", "not in the catalog (--prune deletes)"),
        (found.foreign, "row was", "rows were", "not written by ingest and would stay"),
        (found.carried, "row", "rows", f"of products that fail or are gone would be carried over from {found.served}"),
    ):  # fmt: skip
        if count:
            display.echo(f"  {count:>8,} {one if count == 1 else many} {what}")
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


def _print_json(found: Plan) -> None:
    """Print one JSON object, with one line per product, because there may be millions."""
    changes = (
        {
            "product_id": product_id,
            "change": change,
            **({"fields": [one._asdict() for one in fields]} if fields else {}),
        }
        for product_id, change, fields in found.changes()
    )
    content = {name: value for name, value in asdict(found).items() if name != "field_details"}
    display.echo_long_json({**content, "details": ""}, "changes", changes)
