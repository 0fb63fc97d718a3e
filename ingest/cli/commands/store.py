"""`ingest store`: what the store of vectors holds, and keeping it small."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from ingest.cli import options
from ingest.cli.output import terminal

_QUIET = click.option("--quiet", "-q", is_flag=True, cls=options.Grouped, group="Outcome", help="No progress.")


@click.group("store", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look after the stored vectors: info, compact, gc."""


@command.command("info", cls=options.Command)
@options.data
@options.store
@options.config_option
@click.option("--json", "as_json", is_flag=True, cls=options.Grouped, group="Outcome", help="An array of objects.")
def info(*, as_json: bool, **values: Any) -> None:
    """Say what the store holds: models, shards, rows, bytes."""
    from ingest.tasks import store

    terminal.log_to_stderr()
    settings = options.settings(values)
    found = store.info(settings)
    if as_json:
        click.echo(json.dumps([asdict(space) for space in found], ensure_ascii=False, indent=2))
        return
    for space in found:
        click.echo(
            f"{space.fingerprint}  {space.rows:>12,} rows of dim {space.dim}  {space.shards:>7,} shards  "
            f"{space.bytes / 2**20:>10,.1f} MiB  {space.model or 'a model that no run here names'}"
        )
    if not found:
        click.echo(f"{settings.store_place}: no vectors yet; ingest run or ingest embed makes some")


@command.command("compact", cls=options.Command)
@options.catalog_file
@options.contract
@options.model
@options.data
@options.store
@options.config_option
@options.option("Store", "--size", type=click.IntRange(1), default=256, show_default=True, metavar="MIB",
                help="What a shard is merged up to.")  # fmt: skip
@_QUIET
def compact(*, size: int, quiet: bool, **values: Any) -> None:
    """Merge the model's small shards into large ones.

    Readers may go on meanwhile. A kill leaves a shard and its parts, which is sound.
    """
    from ingest.tasks import store

    settings = options.settings(values)
    with terminal.follow(quiet=quiet) as (progress, stop):
        before, after = store.compact(settings, progress, stop, size * 2**20)
    click.echo(f"{settings.store_place}: {before:,} shards became {after:,}")


@command.command("gc", cls=options.Command)
@options.catalog_file
@options.contract
@options.model
@options.data
@options.store
@options.config_option
@options.option("Store", "--grace", default="7d", show_default=True, metavar="7d",
                help="Keep what was written since so long ago.")  # fmt: skip
@click.option("--dry-run", is_flag=True, cls=options.Grouped, group="Store", help="Count, and drop nothing.")
@click.option("--yes", "-y", is_flag=True, cls=options.Grouped, group="Store", help="Do not ask.")
@_QUIET
def gc(*, grace: str, dry_run: bool, yes: bool, quiet: bool, **values: Any) -> None:
    """Drop the vectors that no picture uses, after asking.

    Those of the model are meant, and the pictures of the catalog.

    A store that several catalogs share must not be collected by one of them.
    """
    from ingest.tasks import store

    settings = options.settings(values)

    def agreed(unused: int, young: int) -> bool:
        click.echo(
            f"{unused:,} vectors are of no picture of {settings.catalog}; {young:,} rows are younger than {grace}"
        )
        if dry_run or not unused:
            return False
        return yes or click.confirm("Drop those that are older for good?", abort=True, err=True)

    with terminal.follow(quiet=quiet) as (progress, stop):
        dropped = store.collect_garbage(settings, progress, stop, grace, agreed)
    click.echo(f"{dropped:,} rows dropped")
