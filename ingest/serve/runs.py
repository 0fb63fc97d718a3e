"""What the latest run left in the data folder: when it was, how it ended, and which products it skipped and why."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MAX_SKIPPED = 500
"""Rows of `skipped.csv` that are shown."""
_NO_RUNS = frozenset({"planned", "verified", "differs"})  # outcomes of commands that, up to 0.1, left a report too


@dataclass(frozen=True, slots=True)
class LatestRun:
    """`reasons` counts all that were skipped, `skipped` has the first of them, as `skipped.csv` does."""

    started: str
    outcome: str
    reasons: dict[str, int]
    skipped: list[dict[str, str]]


def latest(runs: Path) -> LatestRun | None:
    """Return the latest finished run whose report can be read, None where there is none."""
    if not runs.is_dir():
        return None
    for folder in sorted(runs.iterdir(), reverse=True):
        try:
            report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            if report["outcome"] in _NO_RUNS:
                continue
            with (folder / "skipped.csv").open(encoding="utf-8", newline="") as file:
                skipped = list(islice(csv.DictReader(file), MAX_SKIPPED))
            return LatestRun(str(report["started"]), str(report["outcome"]), dict(report["reasons"]), skipped)
        except (OSError, ValueError, KeyError, csv.Error):
            continue  # under way, of a plan, or half deleted
    return None
