"""`ingest embed`: the catalog into files, without Milvus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ingest.cli import help_groups, options
from ingest.cli.output import terminal

_FILE = click.Path(path_type=Path)


@click.command("embed", cls=help_groups.Command)
@options.catalog
@options.first_products
@options.images
@options.model
@options.batch_size
@options.data
@options.store
@options.config_option
@help_groups.option(
    "Folders",
    "--output",
    "-o",
    type=_FILE,
    show_default="embeddings/clip_embeddings.npy in the data folder",
    help="File for the vectors: .npy, float32, one unit-length row per product.",
)
@help_groups.option(
    "Folders",
    "--meta",
    type=_FILE,
    show_default="embeddings/embedding_metadata.json in the data folder",
    help="File for the product ids: a JSON list in row order.",
)
@options.allow_smaller
@options.outcome
@options.profile
def command(
    *, output: Path | None, meta: Path | None, as_json: bool, quiet: bool, profile: Path | None, **values: Any
) -> None:
    """Embed the catalog into files, without Milvus.

    \b
    Examples:
      ingest embed --catalog products.csv
      ingest embed --output vectors.npy --meta ids.json

    If torch is not installed, the preprocessed images are saved instead and the exit code is 9. The next run with
    torch uses them.
    """  # noqa: D301  Click needs the character itself
    settings = options.settings(values)
    npy, ids = output or settings.npy, meta or settings.npy_ids
    from ingest.core.errors import ConfigError
    from ingest.tasks import embed

    try:
        embed.check_places(npy, ids)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    with terminal.follow(quiet=quiet, profile=profile) as (progress, stop):
        outcome = embed.embed(settings, progress, stop, npy, ids)
    terminal.show(outcome, as_json=as_json, quiet=quiet)
    if outcome.summary.embedded and not quiet:
        terminal.note_sample(settings.model)
