"""`ingest search`: products like a text, a picture, or another product."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import options, terminal

if TYPE_CHECKING:
    from ingest.config import Settings
    from ingest.search.query import Query
    from ingest.search.served import Hit

_SHOWN_CHARACTERS = 48


@click.command("search", cls=options.Command)
@click.argument("text", required=False)
@click.option(
    "--image",
    "-i",
    type=click.Path(path_type=Path),
    cls=options.Grouped,
    group="Query",
    help="A picture file.",
)
@click.option(
    "--product",
    "-p",
    metavar="ID",
    cls=options.Grouped,
    group="Query",
    help="A product; it is left out itself.",
)
@click.option("--filter", "-f", "expression", default="", cls=options.Grouped, group="Query", metavar="EXPRESSION",
              help="A Milvus filter, such as 'price < 20 and category == \"mug\"'.")  # fmt: skip
@click.option("--limit", "-n", type=click.IntRange(1, 1000), default=10, show_default=True, cls=options.Grouped,
              group="Query", help="How many.")  # fmt: skip
@click.option("--backend", type=click.Choice(["milvus", "faiss"]), default="milvus", show_default=True,
              cls=options.Grouped, group="Query", help="The collection, or the exported FAISS files.")  # fmt: skip
@options.model
@options.contract
@options.milvus
@options.data
@options.configured
@click.option("--json", "as_json", is_flag=True, cls=options.Grouped, group="Outcome", help="An array of objects.")
def command(
    *, text: str | None, image: Path | None, product: str | None, expression: str, limit: int, backend: str,
    as_json: bool, **values: Any,
) -> None:  # fmt: skip
    """Find products by text, by picture, or by another product.

    \b
    ingest search "red striped mug"
    ingest search --image photo.jpg --filter 'price < 20'
    ingest search --product P0017 --json
    """  # noqa: D301  Click looks for the character itself
    if sum(query is not None for query in (text, image, product)) != 1:
        raise click.UsageError("Give one of TEXT, --image FILE and --product ID.")
    if expression and backend == "faiss":
        raise click.UsageError("--filter needs --backend milvus; the FAISS files carry no metadata.")
    terminal.log_to_stderr()
    settings = options.settings(values)
    find = _in_milvus if backend == "milvus" else _in_faiss
    from ingest.search.query import Query

    hits = find(settings, Query(text or "", image, product or "", expression=expression, limit=limit))
    if as_json:
        rows = [{"product_id": hit.product_id, "score": round(hit.score, 6), **hit.metadata} for hit in hits]
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif hits:
        _print_table(hits)
    else:
        click.echo("nothing found")


def _in_milvus(settings: Settings, query: Query) -> list[Hit]:
    from ingest import contract as contracts
    from ingest.search.query import Model, vectors
    from ingest.search.served import Served
    from ingest.sinks.milvus.connection import opened

    alias = contracts.load(settings.schema).alias
    with opened(settings.milvus_uri, settings.token, settings.db_name, settings.max_wait, existing=True) as connection:
        served = Served(connection, alias)
        model = Model(settings)
        if query.needs_model:
            served.check(model.space)
        [vector] = vectors([query], model, served.vectors)
        return served.search(vector, query.limit, query.expression, [query.product_id] if query.product_id else ())


def _in_faiss(settings: Settings, query: Query) -> list[Hit]:
    from ingest import contract as contracts
    from ingest.search.files import Exported
    from ingest.search.query import Model, vectors

    exported = Exported(settings, contracts.load(settings.schema).index.ef)
    model = Model(settings)
    if query.needs_model:
        exported.check(model.space)
    found = vectors([query], model, exported.vectors)
    return exported.searches(found, query.limit, without=[query.product_id])[0]


def _print_table(hits: list[Hit]) -> None:
    """Print hits in columns; a terminal that is narrow cuts long texts, a file gets them as they are."""
    from rich.console import Console
    from rich.table import Table

    names = [name for name in hits[0].metadata if name != "image"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("score", justify="right")
    for name in ("product_id", *names):
        numbers = all(isinstance(hit.metadata.get(name), int | float | None) for hit in hits) and name in names
        table.add_column(name, justify="right" if numbers else "left", no_wrap=True, max_width=_SHOWN_CHARACTERS)
    for hit in hits:
        cells = ["" if hit.metadata.get(name) is None else str(hit.metadata[name]) for name in names]
        table.add_row(f"{hit.score:.3f}", hit.product_id, *(cell.replace("[", r"\[") for cell in cells))
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)
    console.print(table, soft_wrap=not console.is_terminal)
