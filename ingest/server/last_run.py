"""What the latest run left in the data folder: when it was, how it ended, and which products it skipped and why."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ingest.pipeline.report import latest_runs

if TYPE_CHECKING:
    from pathlib import Path

MAX_SKIPPED = 500
"""Rows of `skipped.csv` that are shown."""


@dataclass(frozen=True, slots=True)
class LatestRun:
    """`reasons` counts all that were skipped, `skipped` has the first of them, as `skipped.csv` does.

    `collection` is the one that the run filled, "" where it filled none, and `served` what the alias served at its
    end; `failure` says why it is not live, or what else went wrong.
    """

    started: str
    outcome: str
    reasons: dict[str, int]
    skipped: list[dict[str, str]]
    collection: str
    served: str | None
    failure: str


def latest(runs: Path) -> LatestRun | None:
    """Return the latest finished run whose report can be read, None where there is none."""
    for folder, report in latest_runs(runs):
        try:
            with (folder / "skipped.csv").open(encoding="utf-8", newline="") as file:
                skipped = list(islice(csv.DictReader(file), MAX_SKIPPED))
            started, outcome, reasons = str(report["started"]), str(report["outcome"]), dict(report["reasons"])
        except (OSError, ValueError, KeyError, TypeError, csv.Error):
            continue  # half deleted
        collection, failure = str(report.get("collection", "")), str(report.get("failure", ""))
        return LatestRun(started, outcome, reasons, skipped, collection, report.get("served"), failure)
    return None
