"""`ingest rollback`: switches the alias back to the previous collection."""

from __future__ import annotations

from typing import Any

import click

from ingest.cli import help_groups, options
from ingest.cli.commands.collections import behind_the_alias
from ingest.core import display


@click.command("rollback", cls=help_groups.Command)
@options.contract
@options.milvus
@options.data
@options.config_option
@options.as_json
def command(*, as_json: bool, **values: Any) -> None:
    """Switch the alias back to the previous collection, at once.

    \b
    ingest rollback
    ingest rollback --uri http://localhost:19530

    That collection is unchanged since the alias left it. The next ingest run switches to the collection of its model
    and schema, so set those back too.
    """  # noqa: D301  Click needs the character itself
    from ingest.milvus import versions

    with behind_the_alias(values) as (connection, alias):
        now, before = versions.rollback(connection, alias)
    if as_json:
        display.echo_json({"alias": alias, "serves": now, "served_before": before}, indent=None)
        return
    display.echo(f"the alias {alias} serves {now} again{f', no longer {before}' if before else ''}")
    display.echo("set the model and schema in ingest.toml back too, or the next ingest run switches it forward again")
