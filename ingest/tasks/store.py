"""The embedding store alone: what it holds, and merging its shards."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from ingest.pipeline.pipeline import Pipeline
from ingest.pipeline.report import finished_runs
from ingest.store import maintenance

if TYPE_CHECKING:
    import threading

    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress
    from ingest.store.maintenance import SpaceInfo


def info(settings: Settings) -> list[SpaceInfo]:
    """Return what the store holds of each embedding space; the models' names are in the reports of earlier runs."""
    models: dict[str, str] = {}
    for run in finished_runs(settings.data / "runs"):
        models.setdefault(run.fingerprint, run.model)
    return maintenance.spaces(settings.store_place, models)


def compact(settings: Settings, progress: Progress, stop: threading.Event, full: int) -> tuple[int, int]:
    """Merge the small shards of the model's space into shards of `full` bytes; return how many before and after."""
    with ExitStack() as stack:
        store = Pipeline(stack, settings, progress, stop).store
        before = store.shards()
        for group in maintenance.groups(before, full):
            if stop.is_set():
                break
            maintenance.compact(store, [group])
        store.sweep()
        return len(before), len(store.shards())
