"""The states of the catalog's images, and how the last run ended, from what earlier runs left; no heavy imports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.core.errors import ConfigError
from ingest.images.cache import statistics
from ingest.images.cache.cache import FOLDER, INDEX
from ingest.images.cache.index import ImageIndex, open_read_only
from ingest.pipeline.report import finished_runs

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.images.cache.statistics import HostFailures, QualityCounts, StateCount


@dataclass(frozen=True, slots=True)
class LastRun:
    """How the last run into Milvus ended: `served` is what the alias served then, None for nothing.

    `collection` is the one that the run filled; `failure` says why it is not live, or what else went wrong.
    """

    started: str
    outcome: str
    alias: str
    collection: str
    served: str | None
    failure: str


@dataclass(frozen=True, slots=True)
class Status:
    """What the image cache's index says, and how the last run ended; None if there was no run into Milvus."""

    states: list[StateCount]
    worst_hosts: list[HostFailures]
    quality: QualityCounts
    last_run: LastRun | None = None


def status(data: Path) -> Status:
    """Return the status of a data folder, also during a run; raises ConfigError if the folder has no image cache."""
    path = data / FOLDER / INDEX
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; run ingest fetch or ingest run first, or pass --data")
    index = ImageIndex(path, open_read_only)
    try:
        return Status(
            statistics.states(index), statistics.worst_hosts(index), statistics.quality(index), _last_run(data / "runs")
        )
    finally:
        index.close()


def _last_run(runs: Path) -> LastRun | None:
    for run in finished_runs(runs):
        if run.collection:  # reports of embed, export and fetch name none
            return LastRun(run.started, run.outcome, run.alias, run.collection, run.served, run.failure)
    return None
