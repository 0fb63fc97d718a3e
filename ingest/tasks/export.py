"""Write the exported files from the store alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.pipeline import export_files
from ingest.pipeline.outcome import Outcome, finish, raise_if_stopped
from ingest.pipeline.report import Summary
from ingest.pipeline.without_torch import open_pipeline

if TYPE_CHECKING:
    import threading

    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress

_NOTHING_STORED = "no product of the catalog has a vector yet; make them with: ingest run"


def export(settings: Settings, progress: Progress, stop: threading.Event) -> Outcome:
    """Write the `.npy` pair, FAISS and, if wanted, Parquet files; nothing is downloaded or embedded."""
    with open_pipeline(settings, progress, stop) as pipeline:
        summary = Summary()
        for _ in pipeline.report.keep_skipped(pipeline.images(download=False)):
            pass
        raise_if_stopped(pipeline, summary)
        exported = export_files.export(pipeline, export_files.paths(settings), is_judged=False)
        summary.unchanged = exported.rows
        some = "1 product has" if exported.missing == 1 else f"{exported.missing:,} products have"
        notes = [f"{some} no vector yet; embed what is missing with: ingest run"] if exported.missing else []
        faults = exported.faults or ([] if exported.rows else [_NOTHING_STORED])
        return finish(pipeline, summary, export_files.existing(pipeline), [*notes, *exported.notes], faults)
