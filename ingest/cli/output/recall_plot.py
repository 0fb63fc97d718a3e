"""Draws an evaluation as PNG or SVG: recall over ef, against latency, and with filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ingest.core.errors import ConfigError
from ingest.runtime.atomic_files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.search.evaluate import Evaluation

_ENDINGS = (".png", ".svg")
_LOOKS = {"collection": ("#0b62a4", "o"), "faiss": ("#c1440e", "s")}
_FILTERED = (
    ("#0b62a4", (0, (6, 2))), ("#2a8a4a", (0, (3, 1.5))), ("#8e44ad", (0, (1, 1.2))),
    ("#b8860b", (0, (5, 1.5, 1, 1.5))),
)  # fmt: skip
"""Colours and dashes of the curves with filters, the largest share first."""
_GREY = "#666"
_APART = 1.4
"""How much larger a latency must be than the last one labelled, to have a label at the same height too."""
_NAMES = {"collection": "the collection", "faiss": "FAISS, one thread"}


def check(path: Path) -> Any:
    """Return matplotlib's figure class; raises ConfigError for another file type, or if matplotlib is missing."""
    if path.suffix.lower() not in _ENDINGS:
        raise ConfigError(f"--plot {path}: its name must end in {' or '.join(_ENDINGS)}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("--plot: needs matplotlib; pip install 'ingest[plots]'") from error
    return Figure


def draw(evaluation: Evaluation, path: Path) -> None:
    """Draw the rows; raises ConfigError as `check` does, StorageError if the file cannot be written."""
    curves = _curves(evaluation)
    filtered = [curve for curve in curves if curve.share < 1]
    panels = 3 if filtered else 2
    figure = check(path)(figsize=(5.4 * panels, 4.6), layout="constrained")
    by_ef, by_time, *rest = figure.subplots(1, panels)
    for curve in curves:
        if curve.share == 1:
            by_ef.plot(curve.efs, curve.recalls, **curve.look)
            by_time.plot(curve.milliseconds, curve.recalls, **curve.look)
            _label(by_time, curve)
    _over_ef(by_ef, evaluation, "Recall over ef")
    by_time.set_xscale("log")
    _in_plain_numbers(by_time)
    _finish(by_time, evaluation, "Recall against latency (labels: ef)", "p50 of one query, ms")
    for axes in rest:
        for curve in filtered:
            axes.plot(curve.efs, curve.recalls, **curve.look)
        _over_ef(axes, evaluation, "Recall with filters, over ef")
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix.lower()[1:], dpi=144)


class _Curve(NamedTuple):
    """The measurements of one place, without a filter or with those that match one share of the products."""

    share: float
    efs: list[int]
    recalls: list[float]
    milliseconds: list[float]
    look: dict[str, Any]


def _curves(evaluation: Evaluation) -> list[_Curve]:
    rows = sorted(evaluation.rows, key=lambda row: row.ef)
    keys = dict.fromkeys((row.where, row.matching) for row in evaluation.rows)
    some = {key: [row for row in rows if (row.where, row.matching) == key] for key in keys}
    return [
        _Curve(share, [row.ef for row in found], [row.recall for row in found], [row.p50_ms for row in found],
               _look(evaluation, where, share))
        for (where, share), found in some.items()
    ]  # fmt: skip


def _label(axes: Any, curve: _Curve) -> None:
    """Write the ef below and right of the points, where a rising curve is not, but at none too near to the last one."""
    height = 1.0 - min(curve.recalls)
    last_at, last_recall = 0.0, -1.0
    for ef, at, recall in zip(curve.efs, curve.milliseconds, curve.recalls, strict=True):
        if at < last_at * _APART and recall - last_recall < height / 8:
            continue
        last_at, last_recall = at, recall
        axes.annotate(
            str(ef), (at, recall), xytext=(5, -11), textcoords="offset points", ha="left", fontsize=8,
            color=curve.look["color"],
        )  # fmt: skip


def _over_ef(axes: Any, evaluation: Evaluation, title: str) -> None:
    from matplotlib.ticker import NullLocator

    efs = sorted({row.ef for row in evaluation.rows})
    axes.set_xscale("log")
    axes.set_xticks(efs, [str(ef) for ef in efs])
    axes.xaxis.set_minor_locator(NullLocator())
    if evaluation.smallest_ef is not None:
        axes.axvline(evaluation.smallest_ef, color=_GREY, linestyle=":", linewidth=1.2,
                     label=f"smallest ef that reaches it: {evaluation.smallest_ef}")  # fmt: skip
    _finish(axes, evaluation, title, "ef")


def _in_plain_numbers(axes: Any) -> None:
    """Show the ticks of a logarithmic axis as 0.2 or 5, few enough not to touch."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axes.get_xlim()
    subs = (1.0,) if high > 100 * low else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _at: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _finish(axes: Any, evaluation: Evaluation, title: str, below: str) -> None:
    """Draw the target, the scales and the legend; every panel has the same scale of recall."""
    target = evaluation.target_recall
    lowest = min([target, *(row.recall for row in evaluation.rows)])
    room = max(0.01, 0.15 * (1 - lowest))
    axes.axhline(target, color=_GREY, linestyle="--", linewidth=1.2, label=f"target: {target:g}")
    axes.set(title=title, xlabel=below, ylabel=f"recall@{evaluation.k}", ylim=(lowest - room, 1 + room / 2))
    axes.set_yticks([tick for tick in axes.get_yticks() if lowest - room <= tick <= 1])
    axes.margins(x=0.08)
    axes.grid(visible=True, color="#ddd", linewidth=0.6)
    axes.legend(loc="lower right", fontsize=8, framealpha=0.9)


def _look(evaluation: Evaluation, where: str, share: float) -> dict[str, Any]:
    """Return the style of a curve; each share of filters has its own colour and dashes."""
    colour, marker = _LOOKS[where]
    look = {"color": colour, "marker": marker, "label": _NAMES[where], "linewidth": 1.6, "markersize": 5}
    if share == 1:
        return look
    shares = sorted({row.matching for row in evaluation.rows if row.matching < 1}, reverse=True)
    colour, dashes = _FILTERED[shares.index(share) % len(_FILTERED)]
    return look | {"label": f"{_NAMES[where]}, {100 * share:.3g} % match", "linestyle": dashes, "color": colour}
