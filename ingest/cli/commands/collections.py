"""`ingest collections`: what lies behind the alias, and dropping what is old."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import options
from ingest.cli.output import terminal
from ingest.core import search_ef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.milvus.connection import Connection
    from ingest.milvus.versions import CollectionVersion


def _places(function: Callable[..., Any]) -> Callable[..., Any]:
    return options.combine(options.contract, options.milvus, options.data, options.config_option)(function)


class _Group(click.Group, options.Command):
    """A group that, called alone, lists."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options.Command.format_options(self, ctx, formatter)
        self.format_commands(ctx, formatter)


@click.group("collections", cls=_Group, invoke_without_command=True)
@_places
@click.option("--json", "as_json", is_flag=True, cls=options.Grouped, group="Outcome", help="An array of objects.")
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool, **values: Any) -> None:
    """List the collections behind the alias.

    The one it serves is marked with *. Older ones stay as they were when the alias left them, for ingest rollback.
    """
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
        click.echo(f"no collection of ingest's behind {alias}; ingest run makes one")


@command.command("prune", cls=options.Command)
@_places
@options.option("Removal", "--keep", type=click.IntRange(0), default=1, show_default=True, metavar="N",
                help="Old collections to keep, beside the served one.")  # fmt: skip
@click.option("--yes", "-y", is_flag=True, cls=options.Grouped, group="Removal", help="Do not ask.")
def prune(*, keep: int, yes: bool, **values: Any) -> None:
    """Drop old collections, after asking.

    The served one stays, and so do the --keep newest of those that were served before, and one that is newer and
    still being filled.
    """
    from ingest.milvus import versions

    with behind_the_alias(values) as (connection, alias):
        old = versions.select_prunable(versions.list_versions(connection, alias), keep)
        if not old:
            click.echo("nothing to drop")
            return
        _print(old)
        if not yes:
            click.confirm(f"Drop {len(old)} of them for good?", abort=True, err=True)
        for release in old:
            versions.drop(connection, alias, release.name)
            click.echo(f"dropped {release.name}")


@contextmanager
def behind_the_alias(values: dict[str, Any], *, reading: bool = False) -> Iterator[tuple[Connection, str]]:
    """Connect to where the settings say, and give the alias too; `reading` as `connect` has it."""
    from ingest.core import contract as contracts
    from ingest.milvus.connection import connect

    terminal.log_to_stderr()
    settings = options.settings(values)
    alias = contracts.load(settings.schema).alias
    to = (settings.milvus_uri, settings.token, settings.db_name, settings.max_wait)
    with connect(*to, existing=True, reading=reading) as connection:
        yield connection, alias


def _print(found: list[CollectionVersion]) -> None:
    width = max(len(release.name) for release in found)
    for release in found:
        mark = "*" if release.serves else " "
        click.echo(
            f"{mark} {release.name:<{width}}  {release.rows:>10,} rows  {release.bytes / 2**20:>8,.1f} MiB  "
            f"built {release.built or 'at an unknown time'}  "
            f"{'served since ' + release.last_served if release.serves else _past(release)}  "
            f"{release.model} ({release.revision[:19]}), dim {release.dim}, {search_ef.describe(asdict(release))}"
        )


def _past(version: CollectionVersion) -> str:
    return f"last put to serve {version.last_served}" if version.last_served else "never served"
