"""`ingest collections`: lists the collections of the alias, and drops old ones."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import help_groups, options
from ingest.cli.output import terminal
from ingest.core import display, search_ef
from ingest.core.wording import minute, quantity, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.milvus.connection import Connection
    from ingest.milvus.versions import CollectionVersion


def _places(function: Callable[..., Any]) -> Callable[..., Any]:
    return help_groups.combine(options.contract, options.milvus, options.data, options.config_option)(function)


class _Group(click.Group, help_groups.Command):
    """A group that lists the collections if called without a subcommand."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        help_groups.Command.format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group("collections", cls=_Group, invoke_without_command=True)
@_places
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool, **values: Any) -> None:
    """List the collections of the alias.

    \b
    Examples:
      ingest collections
      ingest collections prune --keep 1

    The one that the alias points to is marked with *, the one that it served before with <: ingest rollback switches
    to that. Older ones are kept unchanged.
    """  # noqa: D301  Click needs the character itself
    if ctx.invoked_subcommand is not None:
        if any(ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE for name in ctx.params):
            raise click.UsageError(f"Options go after {ctx.invoked_subcommand}.")
        return
    from ingest.milvus import versions

    with behind_the_alias(values, reading=True) as (connection, alias):
        found = versions.list_versions(connection, alias)
    if as_json:
        display.echo_json([asdict(release) for release in found])
    elif found:
        _print(found)
    else:
        display.echo(f"{alias}: no collection yet; create one with: ingest run")


@command.command("prune", cls=help_groups.Command)
@_places
@help_groups.option("Removal", "--keep", type=click.IntRange(0), default=1, show_default=True, metavar="N",
                help="Number of old collections to keep besides the served one.")  # fmt: skip
@click.option(
    "--yes", "-y", is_flag=True, cls=help_groups.Grouped, group="Removal", help="Do not ask for confirmation."
)
def prune(*, keep: int, yes: bool, **values: Any) -> None:
    """Drop old collections, after confirmation.

    \b
    Examples:
      ingest collections prune
      ingest collections prune --keep 0 --yes

    The served one is kept, and so are the one before it and the newest of those served before, --keep together, and any
    that a run may be filling: one that began within the last week.
    """  # noqa: D301  Click needs the character itself
    from ingest.milvus import versions

    with behind_the_alias(values) as (connection, alias):
        found = versions.list_versions(connection, alias)
        for release in filter(versions.is_filling, found):
            display.echo(f"kept {release.name}: a run began to fill it at {minute(release.filling)}", err=True)
        old = versions.select_prunable(found, keep)
        if not old:
            display.echo("nothing to drop")
            return
        _print(old)
        if not yes:
            what = "this collection" if len(old) == 1 else f"these {len(old)} collections"
            if not terminal.confirm(f"Permanently drop {what}?"):
                display.echo("nothing was dropped")
                return
        # Somebody may have run or rolled back while the question waited for an answer.
        now = versions.select_prunable(versions.list_versions(connection, alias), keep)
        still_old = {release.name for release in now}
        for release in old:
            if release.name in still_old:
                versions.drop(connection, alias, release.name)
                display.echo(f"dropped {release.name}")
            else:
                display.echo(f"kept {release.name}: it is used again", err=True)


@contextmanager
def behind_the_alias(values: dict[str, Any], *, reading: bool = False) -> Iterator[tuple[Connection, str]]:
    """Connect as the settings say, and return the alias too; `reading` as in `connect`."""
    from ingest.core import contract_file
    from ingest.milvus.connection import connect

    terminal.log_to_stderr()
    settings = options.settings(values)
    alias = contract_file.load(settings.schema).alias
    with connect(settings.milvus, existing=True, reading=reading) as connection:
        yield connection, alias


def _print(found: list[CollectionVersion]) -> None:
    for release in found:
        mark = "*" if release.serves else "<" if release.previous else " "
        state = _state(release)
        display.echo(f"{mark} {release.name}  {quantity(release.rows, 'row')}, {size(release.bytes)}  {state}")
        display.echo(f"    {release.model} ({release.revision[:19]}), dim {release.dim}")
        display.echo(
            f"    {search_ef.describe(asdict(release))}; built {minute(release.built) or 'at an unknown time'}"
        )


def _state(version: CollectionVersion) -> str:
    if version.serves:
        return f"served since {minute(version.last_served) or 'an unknown time'}"
    past = f"last served {minute(version.last_served)}" if version.last_served else "never served"
    return f"previous, {past}" if version.previous else past
