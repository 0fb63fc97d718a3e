"""`ingest recommend`: products similar to one, to a basket, or the neighbours of all."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import help_groups, options, typed_flags
from ingest.cli.commands.search import filter_option, limit_option, note_unknown
from ingest.cli.output import hits, terminal
from ingest.core import display
from ingest.core.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.core.settings import Settings
    from ingest.search.neighbours import WrittenNeighbours
    from ingest.search.recommend import RecommendOptions


def _choice(*names: str, **kwargs: Any) -> Callable[[help_groups.F], help_groups.F]:
    return click.option(*names, cls=help_groups.Grouped, group="Selection", **kwargs)


@dataclass(frozen=True, slots=True)
class SelectionOptions:
    """Which neighbours to recommend; `everything` writes those of all products into `out`."""

    limit: int
    expression: str
    diverse: bool
    balance: float
    same: str
    other: str
    everything: bool
    out: Path | None


_selection_options = help_groups.bundle(
    "selection",
    SelectionOptions,
    limit_option,
    filter_option,
    _choice("--diverse", is_flag=True, help="Also choose results unlike one another (maximal marginal relevance)."),
    _choice(
        "--balance", type=click.FloatRange(0, 1), default=0.5, show_default=True, metavar="LAMBDA",
        help="With --diverse: 1 is similarity only, 0 is diversity only.",
    ),
    _choice(
        "--same", metavar="FIELD", default="", help="Only products with the same value in this field, such as category."
    ),
    _choice("--other", metavar="FIELD", default="", help="Only products with another value in this field."),
    click.option(
        "--all", "everything", is_flag=True, cls=help_groups.Grouped, group="All products",
        help="Recommend for every product of the FAISS files, into --out.",
    ),
    click.option(
        "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", cls=help_groups.Grouped,
        group="All products", help="Output of --all, .parquet or .csv: product_id, rank, other_id, score.",
    ),
)  # fmt: skip


@click.command("recommend", cls=help_groups.Command)
@click.argument("product_ids", metavar="ID…", nargs=-1)
@_selection_options
@hits.places
@options.contract
@options.milvus
@options.data
@options.config_option
@hits.output
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    product_ids: tuple[str, ...],
    selection: SelectionOptions,
    output: hits.HitsOutput,
    **values: Any,
) -> None:
    """Recommend products similar to one product, or to a basket of several.

    \b
    Examples:
      ingest recommend P0017
      ingest recommend P0017 P0042 --diverse --other category
      ingest recommend --all --limit 20 --out neighbours.parquet

    The given products are left out, and so are products with the same image. No model is needed.
    """  # noqa: D301  Click needs the character itself
    from ingest.search.recommend import RecommendOptions

    if selection.everything == bool(product_ids) or selection.everything != (selection.out is not None):
        raise click.UsageError("Give one or more IDs; or --all and --out FILE.")
    if selection.everything and (selection.expression or output.as_csv or output.html):
        raise click.UsageError("--all works with --limit, --diverse, --same, --other and --json only.")
    if not selection.diverse:
        typed_flags.refuse(ctx, "works with --diverse only.", "balance")
    output.check()
    terminal.log_to_stderr()
    settings = options.settings(values)
    wanted = RecommendOptions(
        selection.limit, selection.balance if selection.diverse else None, selection.same, selection.other,
        selection.expression,
    )  # fmt: skip
    if selection.out is not None:
        _tell(_write_all(settings, wanted, selection.out), selection.out, as_json=output.as_json)
        return
    found = _like(settings, list(dict.fromkeys(product_ids)), wanted)
    hits.show([found], settings, output, several=False)


def _like(settings: Settings, product_ids: list[str], options: RecommendOptions) -> hits.SearchResult:
    from ingest.search import recommend
    from ingest.search.milvus_backend import open_collection

    with open_collection(settings, reading=True) as served:
        found = hits.SearchResult("like " + " + ".join(product_ids), recommend.like(served, product_ids, options))
        note_unknown(served, options.expression, found)
    return found


def _write_all(settings: Settings, options: RecommendOptions, out: Path) -> WrittenNeighbours:
    from ingest.core import contract_file
    from ingest.core.errors import ExportError
    from ingest.exports import faiss_index, npy_files
    from ingest.search import neighbours
    from ingest.search.milvus_backend import open_collection

    ef = contract_file.load(settings.schema).index.ef
    rows, _ = npy_files.read(settings.npy, settings.npy_ids)
    index = faiss_index.open_index(settings.indexes, int(rows.shape[1]))
    if not index.names:
        raise ExportError(f"{settings.indexes}: holds no products; fill it with: ingest run")
    labels = {}
    with ExitStack() as stack:
        if fields := [name for name in (options.same, options.other) if name]:
            served = stack.enter_context(open_collection(settings, reading=True))
            labels = {name: served.values(name) for name in fields}
    return neighbours.write(neighbours.all_neighbours(index, options, ef, labels), index.names, out)


def _tell(written: WrittenNeighbours, out: Path, *, as_json: bool) -> None:
    rate = written.products / max(written.seconds, 1e-9)
    if as_json:
        summary = {"products": written.products, "rows": written.rows, "seconds": round(written.seconds, 3),
                "products_per_second": round(rate, 1), "out": str(out)}  # fmt: skip
        display.echo_json(summary)
    else:
        display.echo(
            f"{quantity(written.products, 'product')}, {quantity(written.rows, 'neighbour')} "
            f"in {written.seconds:.1f} s ({rate:,.0f} products/s): {out}"
        )
