"""Reads the report of the latest run in the data folder."""

from __future__ import annotations

import csv
from itertools import islice
from typing import TYPE_CHECKING

from ingest.pipeline.report import latest_runs
from ingest.server.schemas import LatestRun

if TYPE_CHECKING:
    from pathlib import Path

MAX_SKIPPED = 500
"""Maximum rows of `skipped.csv` returned."""


def latest(runs: Path) -> LatestRun | None:
    """Return the latest finished run whose report can be read, None if there is none."""
    for folder, report in latest_runs(runs):
        try:
            with (folder / "skipped.csv").open(encoding="utf-8", newline="") as file:
                skipped = list(islice(csv.DictReader(file), MAX_SKIPPED))
            return LatestRun(
                started=report["started"], outcome=report["outcome"], reasons=report["reasons"], skipped=skipped,
                collection=report.get("collection", ""), served=report.get("served"), failure=report.get("failure", ""),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, csv.Error):
            continue  # half deleted
    return None
