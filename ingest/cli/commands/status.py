"""`ingest status`: the last run, and the states of the images."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ingest.cli import help_groups, options
from ingest.core import display
from ingest.core.wording import minute, quantity
from ingest.images.cache.statistics import TINY

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.images.cache.statistics import QualityCounts
    from ingest.tasks.status import LastRun, Status


@click.command("status", cls=help_groups.Command)
@options.data
@options.config_option
@options.as_json
def command(*, data: Path, as_json: bool) -> None:
    """Show how the last run ended, the states of the images, the ten worst hosts, and image quality.

    \b
    Examples:
      ingest status
      ingest status --data /srv/shop --json

    It reads the records of earlier runs and uses no network.
    """  # noqa: D301  Click needs the character itself
    from ingest.tasks import status as task

    status = task.status(data)
    if as_json:
        display.echo_json(asdict(status))
        return
    if status.last_run is not None:
        _show_run(status.last_run)
    _show_states(status)
    _show_quality(status.quality)


def _show_run(run: LastRun) -> None:
    """Print how the last run ended and what the alias served then; a later rollback is not known here."""
    rest = "" if run.served == run.collection else f", not {run.collection}"
    display.echo(
        f"last run {minute(run.started)}: {run.outcome}; then {run.alias} served {run.served or 'nothing'}{rest}"
    )
    if run.failure:
        display.echo(f"  {run.failure}")
    display.echo()


def _show_states(status: Status) -> None:
    display.echo(f"{'state':<18}{'images':>10}{'MB':>10}  next run")
    for state in status.states:
        again = "retries" if state.tried_again else ""
        display.echo(f"{state.name:<18}{state.pictures:>10,}{state.bytes / 1e6:>10,.1f}  {again}".rstrip())
    if status.worst_hosts:
        display.echo()
        display.echo(f"{'worst hosts':<40}{'failed':>8}{'of':>8}  mostly")
        for host in status.worst_hosts:
            display.echo(f"{host.name:<40}{host.failed:>8,}{host.pictures:>8,}  {', '.join(host.classes)}")


def _show_quality(quality: QualityCounts) -> None:
    display.echo()
    display.echo(
        f"{quality.looked_at:,} examined: {quality.tiny:,} tiny (< {TINY} px), {quality.blank:,} blank; "
        f"{_sharing(quality)}"
    )
    for shared in quality.most_shared:
        display.echo(f"{shared.products:>8,} products have the image of {shared.product_id}")


def _sharing(quality: QualityCounts) -> str:
    if not quality.sharing:
        return "no two products share an image"
    return f"{quality.sharing:,} products share {quantity(quality.shared, 'image')}"
