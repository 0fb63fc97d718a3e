"""`ingest rollback`: switches the alias back to the previous collection, or to another one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from ingest.cli import help_groups, options
from ingest.cli.commands.collections import behind_the_alias
from ingest.core import display
from ingest.core.wording import quantity


@click.command("rollback", cls=help_groups.Command)
@options.contract
@options.milvus
@options.data
@options.config_option
@click.option("--to", default="", metavar="NAME", cls=help_groups.Grouped, group="Selection",
              help="Switch to this one of ingest collections.  [default: the previous one]")  # fmt: skip
@click.option("--allow-smaller", "smaller", is_flag=True, cls=help_groups.Grouped, group="Selection",
              help="Also switch to a collection with less than 80 % of the rows that are served now.")  # fmt: skip
@options.as_json
def command(*, to: str, smaller: bool, as_json: bool, **values: Any) -> None:
    """Switch the alias back to the previous collection, at once.

    \b
    Examples:
      ingest rollback
      ingest rollback --to products_0f1e2d3c4b5a

    The previous one is what the alias <alias>_previous points to; afterwards, that is the one that was left, so a
    second rollback goes forward again. A collection is unchanged since the alias left it. The next ingest run switches
    to the collection of its model and schema, so set those back too.
    """  # noqa: D301  Click needs the character itself
    from ingest.milvus import versions

    with behind_the_alias(values) as (connection, alias):
        done = versions.rollback(connection, alias, to, allow_smaller=smaller)
    if as_json:
        display.echo_json({"alias": alias, **asdict(done)}, indent=None)
        return
    if done.serves == done.served_before:
        display.echo(f"the alias {alias} serves {done.serves} already ({quantity(done.rows, 'row')})")
        return
    left = f", no longer {done.served_before}" if done.served_before else ""
    before = f", before that {done.rows_before:,}" if done.served_before else ""
    display.echo(f"the alias {alias} serves {done.serves} again{left} ({quantity(done.rows, 'row')}{before})")
    display.echo("set the model and schema in ingest.toml back too, or the next ingest run switches it forward again")
