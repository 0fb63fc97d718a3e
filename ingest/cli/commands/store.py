"""`ingest store`: what the embedding store holds, and how to keep it small."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import help_groups, options, typed_flags
from ingest.cli.output import terminal
from ingest.cli.param_types import Age, Limit, PathOrUrl
from ingest.core import display
from ingest.core import settings as configuration
from ingest.core.wording import quantity, size

if TYPE_CHECKING:
    from ingest.core.settings import Settings
    from ingest.store.maintenance import SpaceInfo


@click.group("store", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Inspect the embedding store, merge its shards, drop unused vectors.

    \b
    Examples:
      ingest store info
      ingest store gc --dry-run
    """  # noqa: D301  Click needs the character itself


@command.command("info", cls=help_groups.Command)
@options.data
@options.store
@options.config_option
@options.as_json
def info(*, as_json: bool, **values: Any) -> None:
    """List what the store holds: models, shards, rows, bytes.

    \b
    Examples:
      ingest store info
      ingest store info --store s3://shop/vectors --json
    """  # noqa: D301  Click needs the character itself
    from ingest.tasks import store

    terminal.log_to_stderr()
    settings = options.settings(values)
    found = store.info(settings)
    if as_json:
        display.echo_json([asdict(space) for space in found])
        return
    for space in found:
        held = f"{quantity(space.rows, 'row')} of dim {space.dim} in {quantity(space.shards, 'shard')}"
        display.echo(f"{space.fingerprint}  {held}, {size(space.bytes)}  {space.model or 'unknown model'}")
    if not found:
        display.echo(f"{settings.store_place}: no vectors yet; create them with: ingest run")


@command.command("compact", cls=help_groups.Command)
@options.catalog
@options.model
@options.data
@options.store
@options.config_option
@help_groups.option("Store", "--size", type=click.IntRange(1), default=256, show_default=True, metavar="MIB",
                help="Size of a merged shard.")  # fmt: skip
@options.quiet
def compact(*, size: int, quiet: bool, **values: Any) -> None:
    """Merge small shards of the model into large ones.

    \b
    Examples:
      ingest store compact
      ingest store compact --store s3://shop/vectors --size 512

    Readers can continue meanwhile. Nothing is lost if the command is killed.
    """  # noqa: D301  Click needs the character itself
    from ingest.tasks import store

    settings = options.settings(values)
    with terminal.follow(quiet=quiet) as (progress, stop):
        before, after = store.compact(settings, progress, stop, size * 2**20)
    display.echo(f"{settings.store_place}: {quantity(before, 'shard')} became {after:,}")


@command.command("gc", cls=help_groups.Command)
@options.catalog
@click.option("--also", multiple=True, type=PathOrUrl(), metavar="PLACE", cls=help_groups.Grouped, group="Catalog",
              help="Another catalog that uses the store, or its ingest.toml; may be repeated.")  # fmt: skip
@options.model
@options.milvus
@options.data
@options.store
@options.config_option
@help_groups.option("Store", "--grace", type=Age(), default="7d", show_default=True, metavar="AGE",
                help="Keep vectors younger than this, and dropped ones in the trash for as long.")  # fmt: skip
@help_groups.option("Store", "--max-drop", type=click.FloatRange(0, 1), default=0.2, show_default=True,
                metavar="SHARE", help="Refuse to drop more than this share of the vectors.")  # fmt: skip
@help_groups.option("Store", "--max-unseen", type=Limit(), default="0", show_default=True, metavar="N|N%",
                help="Refuse if more images than this cannot be looked at.")  # fmt: skip
@help_groups.option("Store", "--allow-smaller", is_flag=True,
                help="Drop vectors even if the catalog lacks more than 20 % of the served products.")  # fmt: skip
@click.option("--old-models", is_flag=True, cls=help_groups.Grouped, group="Store",
              help="Drop the vectors of models that no collection uses instead, not even for a rollback.")  # fmt: skip
@click.option("--dry-run", is_flag=True, cls=help_groups.Grouped, group="Store", help="Only count; drop nothing.")
@click.option("--yes", "-y", is_flag=True, cls=help_groups.Grouped, group="Store", help="Do not ask for confirmation.")
@options.quiet
@click.pass_context
def gc(
    ctx: click.Context, /, *, also: tuple[Path | str, ...], grace: str, max_drop: float, max_unseen: str,
    old_models: bool, dry_run: bool, yes: bool, quiet: bool, **values: Any,
) -> None:  # fmt: skip
    """Drop vectors of the model that no image of the catalogs uses, after confirmation.

    \b
    Examples:
      ingest store gc --dry-run
      ingest store gc --grace 30d --yes
      ingest store gc --old-models
      ingest store gc --also /srv/other-shop/ingest.toml --also s3://shop/feed/

    If several catalogs share the store, name all of them. Dropped vectors go into a trash, from which a run takes what
    it needs again, and ingest store restore everything. The first gc after the grace period deletes them.
    """  # noqa: D301  Click needs the character itself
    from ingest.tasks import garbage

    settings = options.settings(values)
    if old_models:
        typed_flags.refuse(ctx, "has no effect with --old-models.", "max_drop", "max_unseen", "allow_smaller")
        _drop_old_models(settings, grace, [_other(settings, place) for place in also], dry_run, yes, quiet)
        return

    def agreed(unused: int, young: int) -> bool:
        display.echo(
            f"{quantity(unused, 'vector belongs', 'vectors belong')} to no image of {settings.catalog}; "
            f"{quantity(young, 'row is', 'rows are')} younger than {grace}"
        )
        if dry_run:
            return False
        return yes or not unused or terminal.confirm("Drop the older ones?")

    asked = garbage.GarbageOptions(
        grace, [_other(settings, place) for place in also], max_drop, max_unseen, settings.allow_smaller
    )
    with terminal.follow(quiet=quiet) as (progress, stop):
        dropped = garbage.collect_garbage(settings, progress, stop, asked, agreed)
    display.echo(f"{quantity(dropped, 'row')} dropped" if dropped else "nothing was dropped")


def _drop_old_models(
    settings: Settings, grace: str, also: list[Settings], dry_run: bool, yes: bool, quiet: bool
) -> None:
    from ingest.tasks import old_models

    def agreed(unused: list[SpaceInfo]) -> bool:
        if not unused:
            display.echo("every model of the store is used")
            return not dry_run
        for space in unused:
            held = f"{quantity(space.rows, 'row')}, {size(space.bytes)}"
            display.echo(f"{space.fingerprint}  {held}  {space.model or 'unknown model'}")
        frees = f"frees {size(sum(space.bytes for space in unused))} when it leaves the trash, after {grace}"
        if dry_run:
            display.echo(f"dropping them {frees}")
            return False
        return yes or terminal.confirm(f"Drop what is older than {grace}? That {frees}.")

    with terminal.follow(quiet=quiet) as (progress, stop):
        dropped = old_models.drop_old_models(settings, progress, stop, grace, also, agreed)
    display.echo(f"{quantity(dropped, 'row')} dropped" if dropped else "nothing was dropped")


@command.command("restore", cls=help_groups.Command)
@options.catalog
@options.model
@options.data
@options.store
@options.config_option
@options.quiet
def restore(*, quiet: bool, **values: Any) -> None:
    """Bring back the vectors of the model that gc has dropped and not yet deleted.

    \b
    Examples:
      ingest store restore
      ingest store restore --store s3://shop/vectors
    """  # noqa: D301  Click needs the character itself
    from ingest.tasks import garbage

    settings = options.settings(values)
    with terminal.follow(quiet=quiet) as (progress, stop):
        restored = garbage.restore(settings, progress, stop)
    display.echo(f"{settings.store_place}: {quantity(restored, 'vector')} restored")


def _other(settings: Settings, place: Path | str) -> Settings:
    """Return the settings of another catalog: those of its ingest.toml, or these with another catalog."""
    if isinstance(place, Path) and place.suffix == ".toml":
        return replace(configuration.load(place), token=settings.token, sample=0)
    return replace(settings, catalog=place)
