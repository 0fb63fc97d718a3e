"""Draws an evaluation as PNG or SVG: recall over ef, and recall against latency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.core.errors import ConfigError
from ingest.runtime.atomic_files import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.search.evaluate import Evaluation

_ENDINGS = (".png", ".svg")
_LOOKS = {"collection": ("#0b62a4", "o"), "faiss": ("#c1440e", "s")}
_DASHES = ((0, (6, 2)), (0, (3, 2)), (0, (1, 1.5)))
"""Line styles of the curves with filters, the largest share first."""
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
    from matplotlib.ticker import NullLocator, ScalarFormatter

    figure = check(path)(figsize=(11, 4.4), layout="constrained")
    by_ef, by_time = figure.subplots(1, 2)
    target = evaluation.target_recall
    for where, share in dict.fromkeys((row.where, row.matching) for row in evaluation.rows):
        rows = [row for row in evaluation.rows if (row.where, row.matching) == (where, share)]
        look = _look(evaluation, where, share)
        colour = look["color"]
        recalls = [row.recall for row in rows]
        by_ef.plot([row.ef for row in rows], recalls, **look)
        by_time.plot([row.p50_ms for row in rows], recalls, **look)
        for at, row in enumerate(rows):
            place = {"xytext": (0, 7 if at % 2 else -13), "textcoords": "offset points", "ha": "center"}
            by_time.annotate(str(row.ef), (row.p50_ms, row.recall), fontsize=8, color=colour, **place)
    efs = sorted({row.ef for row in evaluation.rows})
    by_ef.set_xscale("log")
    by_ef.set_xticks(efs, [str(ef) for ef in efs])
    by_time.set_xscale("log")
    by_time.xaxis.set_major_formatter(ScalarFormatter())
    by_ef.xaxis.set_minor_locator(NullLocator())
    if evaluation.smallest_ef is not None:
        by_ef.axvline(evaluation.smallest_ef, color="#666", linestyle=":", linewidth=1)
    lowest = min([target, *(row.recall for row in evaluation.rows)])
    room = max(0.01, 0.12 * (1 - lowest))
    for axes, title, below in ((by_ef, "Recall over ef", "ef"),
                               (by_time, "Recall against latency (numbers: ef)", "p50 of one query, ms")):  # fmt: skip
        axes.axhline(target, color="#666", linestyle="--", linewidth=1)
        axes.set(title=title, xlabel=below, ylabel=f"recall@{evaluation.k}", ylim=(lowest - room, 1 + room / 2))
        axes.set_yticks([tick for tick in axes.get_yticks() if lowest - room <= tick <= 1])
        axes.grid(visible=True, color="#ddd", linewidth=0.6)
        axes.legend(loc="lower right", fontsize=9)
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix.lower()[1:], dpi=144)


def _look(evaluation: Evaluation, where: str, share: float) -> dict[str, Any]:
    """Return the style of a curve; curves with filters are dashed and lighter."""
    colour, marker = _LOOKS[where]
    look = {"color": colour, "marker": marker, "label": _NAMES[where], "linewidth": 1.6, "markersize": 5}
    if share == 1:
        return look
    shares = sorted({row.matching for row in evaluation.rows if row.matching < 1}, reverse=True)
    dashes = _DASHES[min(shares.index(share), len(_DASHES) - 1)]
    return look | {"label": f"{_NAMES[where]}, {100 * share:.3g} % match", "linestyle": dashes, "alpha": 0.7}
