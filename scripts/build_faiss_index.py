"""Build the FAISS HNSW files from the exported `.npy` pair."""

from __future__ import annotations

from pathlib import Path

import click

from ingest.core import contract_file, display
from ingest.core.errors import IngestError
from ingest.exports import faiss_index

_FILE = click.Path(path_type=Path)


@click.command()
@click.option("--embeddings", type=_FILE, default="data/embeddings/clip_embeddings.npy", show_default=True)
@click.option("--meta", type=_FILE, default="data/embeddings/embedding_metadata.json", show_default=True)
@click.option("--output", type=_FILE, default="data/indexes", show_default=True, help="The folder to write to.")
@click.option(
    "--schema", type=_FILE, default=contract_file.default_path(), help="The contract, with M and efConstruction."
)
def main(embeddings: Path, meta: Path, output: Path, schema: Path) -> None:
    """Build the FAISS HNSW files from the exported .npy pair."""
    try:
        manifest = faiss_index.build(embeddings, meta, output, contract_file.load(schema).index)
    except IngestError as error:
        raise SystemExit(_told(error)) from error
    place = faiss_index.IndexFiles.of(output, manifest.dim).index
    if manifest.rows:
        display.echo(f"{manifest.rows:,} vectors of {manifest.dim} dimensions in {place}")
    else:
        display.echo(f"{embeddings} has no rows, so {place} was not written")


def _told(error: IngestError) -> int:
    display.echo(f"build_faiss_index: {error}", err=True)
    return error.exit_code


if __name__ == "__main__":
    main()
