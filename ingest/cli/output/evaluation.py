"""Prints an evaluation: recall and latency by ef, filters, precision by label, builds, and the ef to use."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ingest.core import display
from ingest.core.wording import quantity

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.search.evaluate import Evaluation


def show(found: Evaluation, plot: Path | None, *, as_json: bool) -> None:
    """Print an evaluation as JSON or as tables; `plot` is the file with the curves, if any."""
    if as_json:
        display.echo_json(asdict(found))
        return
    display.echo(
        f"{found.queries:,} of {quantity(found.products, 'product')} as queries, each left out of its own results"
    )
    display.echo()
    recall = f"recall@{found.k}"
    _table(
        ("where", "ef", "match", recall, "p50 ms", "p95 ms", "p99 ms", "queries/s"),
        [
            (row.where, str(row.ef), _percent(row.matching), f"{row.recall:.4f}", f"{row.p50_ms:.2f}",
             f"{row.p95_ms:.2f}", f"{row.p99_ms:.2f}", f"{row.queries_per_s:,.0f}")
            for row in found.rows
        ],
    )  # fmt: skip
    if found.filters:
        display.echo()
    for one in found.filters:
        display.echo(f"{_percent(one.matching)}: {one.expression} ({quantity(one.products, 'product')})")
    if found.precisions:
        total = sum(one.queries for one in found.precisions)
        mean = sum(one.precision * one.queries for one in found.precisions) / total
        rows = [(one.label, f"{one.queries:,}", f"{one.precision:.3f}") for one in found.precisions]
        display.echo()
        _table((found.labels, "queries", f"precision@{found.k}"), [*rows, ("all", f"{total:,}", f"{mean:.3f}")])
    if found.builds:
        display.echo()
        _table(
            ("M", "efConstruction", "build s", "MiB", "ef", recall, "p50 ms"),
            [
                (str(one.m), str(one.ef_construction), f"{one.build_s:.1f}", f"{one.mib:,.1f}", str(one.row.ef),
                 f"{one.row.recall:.4f}", f"{one.row.p50_ms:.2f}")
                for one in found.builds
            ],
        )  # fmt: skip
    display.echo()
    for note in found.notes:
        display.echo(f"note: {note}")
    who = {"collection": "the collection", "faiss": "FAISS"}[found.judged_by]
    if found.smallest_ef is None:
        display.echo(f"no measured ef reaches a recall of {found.target_recall:g} in {who}")
    else:
        display.echo(f"the smallest ef with a recall of {found.target_recall:g} in {who}: {found.smallest_ef}")
    if plot is not None:
        display.echo(f"curves: {plot}")


def _percent(share: float) -> str:
    return "all" if share == 1 else f"{100 * share:.3g} %"


def _table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table: the first column left-aligned, the others (numbers) right-aligned."""
    widths = [max(len(line[at]) for line in (names, *rows)) for at in range(len(names))]
    for line in (names, *rows):
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        display.echo("  ".join(cells).rstrip())
