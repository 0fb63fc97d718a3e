"""What the commands do with the store alone: say what is in it, merge its shards, drop what no product uses."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING

from ingest.core.duration import parse_duration
from ingest.core.errors import ConfigError
from ingest.core.records import Reason, Skipped
from ingest.pipeline.export_files import ExportContent, ExportPaths
from ingest.pipeline.pipeline import Pipeline
from ingest.store import maintenance

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress
    from ingest.store.maintenance import SpaceInfo


def info(settings: Settings) -> list[SpaceInfo]:
    """Return what the store has, by embedding space; models are named by the reports of this data folder's runs."""
    return maintenance.spaces(settings.store_place, dict(_models(settings)))


def compact(settings: Settings, progress: Progress, stop: threading.Event, full: int) -> tuple[int, int]:
    """Merge the small shards of the model's space into ones of `full` bytes; return the shards before and after."""
    with ExitStack() as stack:
        store = Pipeline(stack, settings, progress, stop).store
        before = store.shards()
        for group in maintenance.groups(before, full):
            if stop.is_set():
                break
            maintenance.compact(store, [group])
        return len(before), len(store.shards())


def collect_garbage(
    settings: Settings, progress: Progress, stop: threading.Event, grace: str, agreed: Callable[[int, int], bool]
) -> int:
    """Drop the vectors that no picture of the catalog has; return how many rows went.

    `agreed` is told how many keys would go and how many rows are too young for it, and has the last word. Raises
    ConfigError where the catalog does not say which pictures are wanted: some are not on disk.
    """
    grace_s = parse_duration(grace, "--grace")
    with ExitStack() as stack:
        pipeline = Pipeline(stack, settings, progress, stop)
        absent = 0
        for record in pipeline.pictures(download=False):
            absent += isinstance(record, Skipped) and (
                record.reason.is_transient or record.reason is Reason.NOT_DOWNLOADED
            )
        if absent:
            raise ConfigError(
                f"{settings.catalog}: {absent} pictures are not on this disk, so their vectors may be used; "
                "fetch them first with: ingest fetch"
            )
        # What fails today is wanted by its last good image too: that vector is in the exports.
        exported = ExportContent(pipeline, ExportPaths(settings.npy, settings.npy_ids), None)
        wanted = {image for _, image in chain(pipeline.wanted.pairs(), exported.pairs())}
        unused = maintenance.UnusedVectors(pipeline.store, wanted, grace_s)
        if stop.is_set() or not agreed(unused.count(), unused.young):
            return 0
        return unused.drop()


def _models(settings: Settings) -> Iterator[tuple[str, str]]:
    for path in sorted((settings.data / "runs").glob("*/report.json")):
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            yield report["fingerprint"], report["model"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
