"""`ingest export`: the stored vectors as files for other programs."""

from __future__ import annotations

from typing import Any

import click

from ingest.cli import options
from ingest.cli.output import terminal


@click.command("export", cls=options.Command)
@options.catalog
@options.contract
@options.model
@options.data
@options.store
@options.config_option
@options.allow_smaller
@options.outcome
def command(*, as_json: bool, quiet: bool, **values: Any) -> None:
    """Write the .npy pair and the FAISS files from the stored vectors.

    Rows stand in catalog order. Nothing is downloaded and nothing embedded: a product without a vector has no
    row, and is counted. One that fails today keeps the vector of its last good image.
    """
    from ingest.tasks import run

    settings = options.settings(values)
    with terminal.follow(quiet=quiet) as (progress, stop):
        outcome = run.export(settings, progress, stop)
    terminal.show(outcome, as_json=as_json)
