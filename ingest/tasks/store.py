"""The embedding store alone: what it holds, merging its shards, and deleting vectors that no product uses."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING

from ingest.core.duration import parse_duration
from ingest.core.errors import ConfigError
from ingest.core.records import Reason, Skipped
from ingest.pipeline.export_content import ExportContent, ExportPaths
from ingest.pipeline.pipeline import Pipeline
from ingest.pipeline.report import finished_runs
from ingest.store import maintenance

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

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
        return len(before), len(store.shards())


def collect_garbage(
    settings: Settings, progress: Progress, stop: threading.Event, grace: str, agreed: Callable[[int, int], bool]
) -> int:
    """Delete the vectors that no image of the catalog uses; return how many rows were deleted.

    `agreed(keys, young)` decides: it gets the number of unused keys, and of unused rows younger than `grace`. Raises
    ConfigError if some images are not on disk, because their vectors may be in use.
    """
    grace_s = parse_duration(grace, "--grace")
    with ExitStack() as stack:
        pipeline = Pipeline(stack, settings, progress, stop)
        missing = sum(_may_have_vector(record) for record in pipeline.images(download=False))
        if missing:
            images = "1 image is" if missing == 1 else f"{missing:,} images are"
            raise ConfigError(
                f"{settings.catalog}: {images} not on this disk, so that vectors may be in use that seem unused; "
                "fetch what is missing with: ingest fetch"
            )
        # The exports also have the last good image of products that fail today.
        exported = ExportContent(pipeline, ExportPaths(settings.npy, settings.npy_ids), None)
        wanted = {image for _, image in chain(pipeline.wanted.pairs(), exported.pairs())}
        unused = maintenance.UnusedVectors(pipeline.store, wanted, grace_s)
        if stop.is_set() or not agreed(unused.count(), unused.young):
            return 0
        return unused.drop()


def _may_have_vector(record: object) -> bool:
    """Return whether a product was skipped for a missing image that a later run may have."""
    return isinstance(record, Skipped) and (record.reason.is_transient or record.reason is Reason.NOT_DOWNLOADED)
