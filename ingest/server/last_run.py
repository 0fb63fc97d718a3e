"""Reads the report of the latest run in the data folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.pipeline.report import finished_runs
from ingest.server.schemas import LatestRun

if TYPE_CHECKING:
    from pathlib import Path

MAX_SKIPPED = 500
"""Maximum rows of `skipped.csv` returned."""


def latest(runs: Path) -> LatestRun | None:
    """Return the latest finished run whose report can be read, None if there is none."""
    for run in finished_runs(runs):
        skipped = run.read_skipped(MAX_SKIPPED)
        if skipped is None:
            continue  # half deleted
        try:
            return LatestRun(
                started=run.started, outcome=run.outcome, reasons=run.reasons, skipped=skipped,
                collection=run.collection, served=run.served, failure=run.failure,
            )  # fmt: skip
        except ValueError:
            continue  # damaged
    return None
