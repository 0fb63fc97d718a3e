"""`ingest collections`: lists the collections of the alias, and drops old ones."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import help_groups, options
from ingest.cli.output import terminal
from ingest.core import search_ef

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
    ingest collections
    ingest collections prune --keep 1

    The one that the alias points to is marked with *. Older ones are kept unchanged, for ingest rollback.
    """  # noqa: D301  Click needs the character itself
    if ctx.invoked_subcommand is not None:
        if any(ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE for name in ctx.params):
            raise click.UsageError(f"Options go after {ctx.invoked_subcommand}.")
        return
    from ingest.milvus import versions

    with behind_the_alias(values, reading=True) as (connection, alias):
        found = versions.list_versions(connection, alias)
    if as_json:
        click.echo(json.dumps([asdict(release) for release in found], ensure_ascii=False, indent=2))
    elif found:
        _print(found)
    else:
        click.echo(f"{alias}: no collection yet; create one with: ingest run")


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
    ingest collections prune
    ingest collections prune --keep 0 --yes

    The served one is kept, and so are the --keep newest of those served before, and a newer one that is still being
    filled.
    """  # noqa: D301  Click needs the character itself
    from ingest.milvus import versions

    with behind_the_alias(values) as (connection, alias):
        old = versions.select_prunable(versions.list_versions(connection, alias), keep)
        if not old:
            click.echo("nothing to drop")
            return
        _print(old)
        if not yes:
            click.confirm(f"Permanently drop {len(old)} of them?", abort=True, err=True)
        for release in old:
            versions.drop(connection, alias, release.name)
            click.echo(f"dropped {release.name}")


@contextmanager
def behind_the_alias(values: dict[str, Any], *, reading: bool = False) -> Iterator[tuple[Connection, str]]:
    """Connect as the settings say, and return the alias too; `reading` as in `connect`."""
    from ingest.core import contract as contracts
    from ingest.milvus.connection import connect

    terminal.log_to_stderr()
    settings = options.settings(values)
    alias = contracts.load(settings.schema).alias
    with connect(settings.milvus, existing=True, reading=reading) as connection:
        yield connection, alias


def _print(found: list[CollectionVersion]) -> None:
    width = max(len(release.name) for release in found)
    for release in found:
        mark = "*" if release.serves else " "
        click.echo(
            f"{mark} {release.name:<{width}}  {release.rows:>10,} rows  {release.bytes / 2**20:>8,.1f} MiB  "
            f"built {release.built or 'at unknown time'}  "
            f"{'served since ' + release.last_served if release.serves else _past(release)}  "
            f"{release.model} ({release.revision[:19]}), dim {release.dim}, {search_ef.describe(asdict(release))}"
        )


def _past(version: CollectionVersion) -> str:
    return f"last served {version.last_served}" if version.last_served else "never served"
