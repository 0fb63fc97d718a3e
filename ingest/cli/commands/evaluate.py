"""`ingest evaluate`: recall, latency, and the smallest ef that reaches the target recall."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import help_groups, options, typed_flags
from ingest.cli.output import evaluation, terminal
from ingest.core import display

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.core.settings import Settings
    from ingest.exports.faiss_index import FaissIndex
    from ingest.search.evaluate import Evaluation
    from ingest.search.milvus_backend import SearchableCollection

_MOST = 32_768  # limit of ef and efConstruction


def _numbers(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Parse whole numbers separated by commas."""
    try:
        numbers = tuple(int(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(0 < number <= _MOST for number in numbers):
        raise click.BadParameter(f"{value!r}: expected numbers from 1 to {_MOST}, separated by commas", ctx, param)
    return numbers


def _shares(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    """Parse percentages separated by commas, as shares of 1; "none" gives none."""
    if value.strip() == "none":
        return ()
    try:
        shares = tuple(float(part) / 100 for part in value.split(","))
    except ValueError:
        shares = ()
    if not shares or not all(0 < share < 1 for share in shares):
        raise click.BadParameter(
            f"{value!r}: expected percentages between 0 and 100, separated by commas, or none", ctx, param
        )
    return tuple(dict.fromkeys(shares))


def _proof(*names: str, **kwargs: Any) -> Callable[[help_groups.F], help_groups.F]:
    return click.option(*names, cls=help_groups.Grouped, group="Evaluation", **kwargs)


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What to measure and how; `grid` are values of ef, `shares` those of the products that filters match."""

    k: int
    queries: int
    grid: tuple[int, ...]
    shares: tuple[float, ...]
    backend: str
    target_recall: float
    apply: bool
    labels: str
    sweep_build: bool
    sweep_m: tuple[int, ...]
    sweep_ef_construction: tuple[int, ...]

    def check(self) -> None:
        """Raise UsageError for options that do not fit together."""
        if self.apply and self.backend == "faiss":
            raise click.UsageError(
                "--apply sets the ef of the collection, so the collection must be measured: omit --backend faiss."
            )
        if self.sweep_build and min(self.sweep_m) < 2:
            raise click.UsageError("--sweep-m: M must be at least 2.")


_evaluation_options = help_groups.bundle(
    "measure",
    EvaluationOptions,
    _proof("--k", type=click.IntRange(1, 1000), default=10, show_default=True, help="Neighbours per query."),
    _proof(
        "--queries",
        type=click.IntRange(1),
        default=500,
        show_default=True,
        metavar="N",
        help="Number of products used as queries.",
    ),
    _proof(
        "--ef",
        "grid",
        callback=_numbers,
        default="16,32,64,128,256,512",
        show_default=True,
        metavar="N,…",
        help="Values of ef to measure.",
    ),
    _proof(
        "--selectivity",
        "shares",
        callback=_shares,
        default="1,10,50",
        show_default=True,
        metavar="PERCENT,…",
        help="Also measure with filters that match about this share of the products; or none.",
    ),
    _proof(
        "--backend",
        type=click.Choice(["both", "milvus", "faiss"]),
        default="both",
        show_default=True,
        help="What to measure.",
    ),
    _proof(
        "--target-recall",
        type=click.FloatRange(0, 1),
        default=0.99,
        show_default=True,
        metavar="RECALL",
        help="Recall to reach.",
    ),
    _proof(
        "--apply",
        is_flag=True,
        help="Store the smallest ef that reaches it in the collection's contract; searches use it.",
    ),
    _proof("--labels", metavar="FIELD", default="", help="Also measure precision@k for this field, such as category."),
    _proof("--sweep-build", is_flag=True, help="Also measure M and efConstruction (FAISS only)."),
    _proof(
        "--sweep-m",
        callback=_numbers,
        default="8,16,32,64",
        show_default=True,
        metavar="N,…",
        help="Values of M to measure.",
    ),
    _proof(
        "--sweep-ef-construction",
        callback=_numbers,
        default="100,200,400",
        show_default=True,
        metavar="N,…",
        help="Values of efConstruction to measure.",
    ),
)


@click.command("evaluate", cls=help_groups.Command)
@_evaluation_options
@options.contract
@options.milvus
@options.data
@options.config_option
@options.as_json
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", cls=help_groups.Grouped,
              group="Output", help="Draw the curves into a .png or .svg file; needs ingest[plots].")  # fmt: skip
@click.pass_context
def command(
    ctx: click.Context, /, *, measure: EvaluationOptions, as_json: bool, plot: Path | None, **values: Any
) -> None:
    """Measure recall@k against exact search, and latency, for several values of ef.

    \b
    Examples:
      ingest evaluate
      ingest evaluate --target-recall 0.995 --apply
      ingest evaluate --labels category --plot curves.png
      ingest evaluate --backend faiss --sweep-build

    Queries are products of the exported files; each is left out of its own results. Filters are made from the
    collection's own fields. The target recall must be reached without a filter and with each of them.
    """  # noqa: D301  Click needs the character itself
    from ingest.cli.output import recall_plot
    from ingest.core import contract_file
    from ingest.core.errors import ExportError
    from ingest.search import evaluate
    from ingest.search.milvus_backend import open_collection

    terminal.log_to_stderr()
    settings = options.settings(values)
    contract = contract_file.load(settings.schema)
    if plot is not None:  # fail before minutes are spent
        recall_plot.check(plot)
    measure.check()
    if not measure.sweep_build:
        typed_flags.refuse(ctx, "works with --sweep-build only.", "sweep_m", "sweep_ef_construction")
    wanted = evaluate.EvaluationConfig(
        measure.k, measure.queries, measure.grid, measure.target_recall, measure.backend != "milvus",
        measure.backend != "faiss", measure.labels, measure.sweep_m if measure.sweep_build else (),
        measure.sweep_ef_construction, measure.shares,
    )  # fmt: skip
    with ExitStack() as stack:
        index, fingerprint = _index(settings)
        needs_collection = wanted.collection or measure.apply or measure.labels
        served = stack.enter_context(open_collection(settings, reading=not measure.apply)) if needs_collection else None
        if served is not None and fingerprint not in ("", served.contract["fingerprint"]):
            raise ExportError(
                f"{settings.indexes}: built with a different model than the collection; rebuild it with: ingest export"
            )
        found = evaluate.evaluate(index, served, wanted, contract.index.ef)
        if plot is not None:
            recall_plot.draw(found, plot)
        evaluation.show(found, plot, as_json=as_json)
        if measure.apply:
            assert served is not None
            _apply(served, found)


def _index(settings: Settings) -> tuple[FaissIndex, str]:
    """Load the exported index; return it and the fingerprint of its space, "" if unknown."""
    from ingest.exports import faiss_index, npy_files
    from ingest.exports.manifest import read_manifest

    rows, _ = npy_files.read(settings.npy, settings.npy_ids)
    dim = int(rows.shape[1])
    manifest = read_manifest(faiss_index.IndexFiles.of(settings.indexes, dim).index)
    return faiss_index.open_index(settings.indexes, dim), manifest.fingerprint if manifest else ""


def _apply(served: SearchableCollection, found: Evaluation) -> None:
    from ingest.core import search_ef
    from ingest.core.errors import VerificationError

    ef = found.smallest_ef
    if ef is None:
        raise VerificationError(
            f"no measured ef reaches recall@{found.k} of {found.target_recall:g}; nothing was applied; try "
            "larger values with --ef, or build with a larger M: ingest evaluate --sweep-build"
        )
    served.save_ef(ef)
    display.echo(f"contract of {served.name}: {search_ef.describe(served.contract)}", err=True)
