"""`ingest export`: the stored vectors as files for other programs."""

from __future__ import annotations

from typing import Any

import click

from ingest.cli import help_groups, options
from ingest.cli.output import terminal


@click.command("export", cls=help_groups.Command)
@options.catalog
@options.first_products
@options.model
@options.data
@options.store
@options.config_option
@options.parquet
@options.allow_smaller
@options.outcome
def command(*, as_json: bool, quiet: bool, **values: Any) -> None:
    """Write the .npy, FAISS and Parquet files from the stored vectors.

    \b
    Examples:
      ingest export
      ingest export --catalog products.csv --store s3://shop/vectors
      ingest export --parquet

    Rows are in catalog order. Nothing is downloaded or embedded. Products without a vector are counted and left out. A
    product that fails today keeps the vector of its last good image.
    """  # noqa: D301  Click needs the character itself
    from ingest.tasks import export

    settings = options.settings(values)
    with terminal.follow(quiet=quiet) as (progress, stop):
        outcome = export.export(settings, progress, stop)
    terminal.show(outcome, as_json=as_json, quiet=quiet)
