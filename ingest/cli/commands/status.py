"""`ingest status`: how the catalog's pictures stand."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from ingest.cli import options
from ingest.images.cache.statistics import TINY

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.images.cache.statistics import QualityCounts
    from ingest.tasks.status import LastRun, Status


@click.command("status", cls=options.Command)
@options.data
@options.config_option
@click.option("--json", "as_json", is_flag=True, cls=options.Grouped, group="Outcome", help="One object.")
def command(*, data: Path, as_json: bool) -> None:
    """Show how the last run ended, the states of the pictures, the ten worst hosts, and the pictures' quality.

    It reads what earlier runs wrote down; no network is used.
    """
    from ingest.tasks import status as task

    status = task.status(data)
    if as_json:
        click.echo(json.dumps(asdict(status), ensure_ascii=False, indent=2))
        return
    if status.last_run is not None:
        _show_run(status.last_run)
    _show_states(status)
    _show_quality(status.quality)


def _show_run(run: LastRun) -> None:
    """Say how the last run ended, and what the alias served then; a rollback since is not known here."""
    rest = "" if run.served == run.collection else f", not {run.collection}"
    click.echo(f"last run {run.started}: {run.outcome}; then {run.alias} served {run.served or 'nothing'}{rest}")
    if run.failure:
        click.echo(f"  {run.failure}")
    click.echo()


def _show_states(status: Status) -> None:
    click.echo(f"{'state':<18}{'pictures':>10}{'MB':>10}  next run")
    for state in status.states:
        again = "tries again" if state.tried_again else ""
        click.echo(f"{state.name:<18}{state.pictures:>10,}{state.bytes / 1e6:>10,.1f}  {again}".rstrip())
    if status.worst_hosts:
        click.echo(f"\n{'worst hosts':<40}{'failed':>8}{'of':>8}  mostly")
        for host in status.worst_hosts:
            click.echo(f"{host.name:<40}{host.failed:>8,}{host.pictures:>8,}  {', '.join(host.classes)}")


def _show_quality(quality: QualityCounts) -> None:
    click.echo(
        f"\n{quality.looked_at:,} looked at: {quality.tiny:,} tiny (< {TINY} px), {quality.blank:,} blank; "
        f"{quality.sharing:,} products share {quality.shared:,} pictures ({quality.duplicates:,} duplicates)"
    )
    for shared in quality.most_shared:
        click.echo(f"{shared.products:>8,} products have the picture of {shared.product_id}")
