"""`ingest init`: a schema and settings for a catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ingest.cli import catalog_options, help_groups, options
from ingest.cli.output import terminal
from ingest.cli.param_types import PathOrUrl
from ingest.core import display

if TYPE_CHECKING:
    from pathlib import Path


@click.command("init", cls=help_groups.Command)
@click.argument("place", type=PathOrUrl(), metavar="CATALOG")
@help_groups.option("Catalog", "--id-column", metavar="NAME", help="Column that holds the product ids.")
@help_groups.option("Catalog", "--image-column", metavar="NAME", help="Column that holds images.")
@catalog_options.how_written
@click.option(
    "--dry-run", is_flag=True, cls=help_groups.Grouped, group="Output", help="Only print both files, write nothing."
)
def command(*, place: Path | str, dry_run: bool, **values: Any) -> None:
    """Look at a catalog, and write a schema and settings for it.

    \b
    ingest init products.csv
    ingest init shop/feed.xml --dry-run
    ingest init s3://shop/exports/

    Finds the columns of ids and images, and the types of the others, and writes schema/NAME.toml and ingest.toml beside
    the catalog. Nothing is overwritten. Where the catalog can be read in two ways, the flag that decides is named.
    """  # noqa: D301  Click needs the character itself
    from ingest.tasks import init

    terminal.log_to_stderr()
    made = init.suggest(options.settings({**values, "catalog": place}))
    for line in made.seen:
        display.echo(line)
    for line in made.warnings:
        display.echo(f"note: {line}")
    for path, text in ((made.schema, made.schema_text), (made.config, made.config_text)):
        display.echo()
        display.echo(f"── {path}")
        for line in text.splitlines():
            display.echo(line)
    if dry_run:
        return
    init.write(made)
    display.echo()
    display.echo("Written. Try next:")
    display.echo(f"  {terminal.program()} run --config {made.config}")
