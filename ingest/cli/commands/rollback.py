"""`ingest rollback`: the alias back to where it was."""

from __future__ import annotations

import json
from typing import Any

import click

from ingest.cli import options
from ingest.cli.commands.collections import behind_the_alias


@click.command("rollback", cls=options.Command)
@options.contract
@options.milvus
@options.data
@options.config_option
@click.option("--json", "as_json", is_flag=True, cls=options.Grouped, group="Outcome", help="An object.")
def command(*, as_json: bool, **values: Any) -> None:
    """Serve the collection that was served before, at once.

    It is as it was when the alias left it. The next ingest run serves the collection of its own model and schema
    again, so set those back too.
    """
    from ingest.milvus import versions

    with behind_the_alias(values) as (connection, alias):
        now, before = versions.rollback(connection, alias)
    if as_json:
        click.echo(json.dumps({"alias": alias, "serves": now, "served_before": before}))
        return
    click.echo(f"the alias {alias} serves {now} again{f', no longer {before}' if before else ''}")
    click.echo("set the model and schema of ingest.toml back too, or the next ingest run moves it forward")
