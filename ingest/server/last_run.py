"""The latest run in the data folder: when it started, how it ended, and which products it skipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.pipeline.report import finished_runs

if TYPE_CHECKING:
    from pathlib import Path

MAX_SKIPPED = 500
"""Rows of `skipped.csv` that are shown."""


@dataclass(frozen=True, slots=True)
class LatestRun:
    """`reasons` counts all skipped products, `skipped` has the first rows of `skipped.csv`.

    `collection` is the one that the run filled, "" for none, and `served` what the alias served at its end; `failure`
    says why the collection is not live, or what else went wrong.
    """

    started: str
    outcome: str
    reasons: dict[str, int]
    skipped: list[dict[str, str]]
    collection: str
    served: str | None
    failure: str


def latest(runs: Path) -> LatestRun | None:
    """Return the latest finished run that can be read, None if there is none."""
    for run in finished_runs(runs):
        skipped = run.read_skipped(MAX_SKIPPED)
        if skipped is not None:  # None if the folder is half deleted
            return LatestRun(run.started, run.outcome, run.reasons, skipped, run.collection, run.served, run.failure)
    return None
