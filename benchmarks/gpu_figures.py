"""The figures of gpu.py: its table, and the ratios beside their goals; a figure that is missing says so."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import bench

MODELS = ("ViT-B/32", "ViT-L/14")
SIDES = (800, 2000)
MISSING = "not measured"
OF_THE_MODEL = ("forward", "encoder")  # pixels in memory: the images' size does not matter
LABELS = {
    "forward": "forward alone, the best batch",
    "encoder": "`ClipEncoder.images` on pixels in memory",
    "decode": "decoding alone, processes, one core less than there are",
    "line": "**the whole line**",
    "line_device": "the whole line, `--resize device`",
    "line_threads": "the whole line, decoding on threads",
    "dataloader": "DataLoader, a worker for each core, and the same model",
    "hand_loop": "loop by hand, float32",
    "sentence_transformers": "sentence-transformers",
}


class Ratio(NamedTuple):
    """The whole line's rate over the lowest of others', at 800 × 800, and the least that is aimed at."""

    model: str
    others: tuple[str, ...]
    goal: float


RATIOS = {
    "of_ceiling_l14": Ratio("ViT-L/14", ("forward", "decode"), 0.90),
    "of_decode_ceiling_b32": Ratio("ViT-B/32", ("decode",), 0.75),
    "vs_dataloader_b32": Ratio("ViT-B/32", ("dataloader",), 4),
    "vs_dataloader_l14": Ratio("ViT-L/14", ("dataloader",), 2.5),
    "vs_sentence_transformers_b32": Ratio("ViT-B/32", ("sentence_transformers",), 30),
}


def ratios(rows: Sequence[bench.Row]) -> dict[str, bench.Figure]:
    """Return each ratio, the median of those within a round, or that it was not measured."""
    return {name: _ratio(rows, ratio) for name, ratio in RATIOS.items()}


def _ratio(rows: Sequence[bench.Row], ratio: Ratio) -> bench.Figure:
    line, *others = (rates(rows, what, ratio.model, SIDES[0]) for what in ("line", *ratio.others))
    complete = set(line).intersection(*others)
    values = [line[turn] / min(other[turn] for other in others) for turn in complete]
    return round(statistics.median(values), 3) if values else MISSING


def rates(rows: Sequence[bench.Row], what: str, model: str, side: int) -> dict[int, float]:
    """Return a contestant's images a second by round, of several batches the best."""
    best: dict[int, float] = {}
    for row in rows:
        if (row["what"], row["model"]) == (what, model) and (what in OF_THE_MODEL or row["side"] == side):
            turn = int(row["round"])
            best[turn] = max(best.get(turn, 0.0), float(row["pictures_per_s"]))
    return best


def show(rows: Sequence[bench.Row]) -> str:
    """Return the table of images a second and that of the ratios, in Markdown; medians over the rounds."""
    columns = [(model, side) for model in MODELS for side in SIDES]
    lines = [
        "| images/s | " + " | ".join(f"{model}, {side:,}" for model, side in columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for what, label in LABELS.items():
        cells = [_median(list(rates(rows, what, *column).values())) for column in columns]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    batches = sorted({int(row["batch"]) for row in rows if row["what"] == "forward"})
    for batch in batches:
        here = [row for row in rows if row.get("batch") == batch]
        cells = [_median(list(rates(here, "forward", *column).values())) for column in columns]
        lines.append(f"| forward alone, batch {batch} | " + " | ".join(cells) + " |")
    lines += ["", "| ratio | measured | goal |", "| --- | ---: | ---: |"]
    lines += [f"| `{name}` | {value} | ≥ {RATIOS[name].goal:g} |" for name, value in ratios(rows).items()]
    return "\n".join(lines)


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f}" if values else MISSING
