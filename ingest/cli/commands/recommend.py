"""`ingest recommend`: products similar to one, to a basket, or the neighbours of all."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import help_groups, options
from ingest.cli.commands.search import collection, filter_option, limit_option, note_unknown
from ingest.cli.output import hits, terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.core.settings import Settings
    from ingest.search.neighbours import WrittenNeighbours
    from ingest.search.recommend import RecommendOptions


def _choice(*names: str, **kwargs: Any) -> Callable[[help_groups.F], help_groups.F]:
    return click.option(*names, cls=help_groups.Grouped, group="Selection", **kwargs)


@click.command("recommend", cls=help_groups.Command)
@click.argument("product_ids", metavar="ID…", nargs=-1)
@limit_option
@filter_option
@_choice("--diverse", is_flag=True, help="Choose results that differ from one another (maximal marginal relevance).")
@_choice("--balance", type=click.FloatRange(0, 1), default=0.5, show_default=True, metavar="LAMBDA",
         help="With --diverse: 1 is similarity only, 0 is diversity only.")  # fmt: skip
@_choice(
    "--same", metavar="FIELD", default="", help="Only products with the same value in this field, such as category."
)
@_choice("--other", metavar="FIELD", default="", help="Only products with another value in this field.")
@click.option("--all", "everything", is_flag=True, cls=help_groups.Grouped, group="All products",
              help="Recommend for every product of the FAISS files, into --out.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", cls=help_groups.Grouped,
              group="All products",
              help="Output of --all, .parquet or .csv: product_id, rank, other_id, score.")  # fmt: skip
@hits.places
@options.contract
@options.milvus
@options.data
@options.config_option
@hits.outputs
def command(
    *, product_ids: tuple[str, ...], limit: int, expression: str, diverse: bool, balance: float, same: str,
    other: str, everything: bool, out: Path | None, as_json: bool, as_csv: bool, html: Path | None,
    pictures: bool | None, **values: Any,
) -> None:  # fmt: skip
    """Recommend products similar to one product, or to a basket of several.

    \b
    ingest recommend P0017
    ingest recommend P0017 P0042 --diverse --other category
    ingest recommend --all --limit 20 --out neighbours.parquet

    The given products are left out, and so are products with the same image. No model is needed.
    """  # noqa: D301  Click needs the character itself
    from ingest.search.recommend import RecommendOptions

    if everything == bool(product_ids) or everything != (out is not None):
        raise click.UsageError("Give one or more IDs; or --all and --out FILE.")
    if everything and (expression or as_csv or html):
        raise click.UsageError("--all works with --limit, --diverse, --same, --other and --json only.")
    hits.check(as_json=as_json, as_csv=as_csv)
    terminal.log_to_stderr()
    settings = options.settings(values)
    wish = RecommendOptions(limit, balance if diverse else None, same, other, expression)
    if out is not None:
        _tell(_write_all(settings, wish, out), out, as_json=as_json)
        return
    found = _like(settings, list(dict.fromkeys(product_ids)), wish)
    hits.show([found], settings, several=False, as_json=as_json, as_csv=as_csv, html=html, pictures=pictures)


def _like(settings: Settings, product_ids: list[str], options: RecommendOptions) -> hits.SearchResult:
    from ingest.search import recommend

    with collection(settings, reading=True) as served:
        found = hits.SearchResult("like " + " + ".join(product_ids), recommend.like(served, product_ids, options))
        note_unknown(served, options.expression, found)
    return found


def _write_all(settings: Settings, options: RecommendOptions, out: Path) -> WrittenNeighbours:
    from ingest.core import contract as contracts
    from ingest.core.errors import ExportError
    from ingest.exports import faiss_index, npy_files
    from ingest.search import neighbours

    ef = contracts.load(settings.schema).index.ef
    rows, _ = npy_files.read(settings.npy, settings.npy_ids)
    index = faiss_index.open_index(settings.indexes, int(rows.shape[1]))
    if not index.names:
        raise ExportError(f"{settings.indexes}: holds no products; fill it with: ingest run")
    labels = {}
    with ExitStack() as stack:
        if fields := [name for name in (options.same, options.other) if name]:
            served = stack.enter_context(collection(settings, reading=True))
            labels = {name: served.values(name) for name in fields}
    return neighbours.write(neighbours.all_neighbours(index, options, ef, labels), index.names, out)


def _tell(written: WrittenNeighbours, out: Path, *, as_json: bool) -> None:
    rate = written.products / max(written.seconds, 1e-9)
    if as_json:
        told = {"products": written.products, "rows": written.rows, "seconds": round(written.seconds, 3),
                "products_per_second": round(rate, 1), "out": str(out)}  # fmt: skip
        click.echo(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        click.echo(
            f"{written.products:,} products, {written.rows:,} neighbours in {written.seconds:.1f} s "
            f"({rate:,.0f} products/s): {out}"
        )
