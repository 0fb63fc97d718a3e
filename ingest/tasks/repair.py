"""Repairs what a verification found: a run that trusts nothing of what was wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.tasks.run import run
from ingest.tasks.verify import forget_images, with_existing_parquet

if TYPE_CHECKING:
    import threading

    from ingest.core.settings import Settings
    from ingest.pipeline.outcome import Outcome
    from ingest.pipeline.progress import Progress
    from ingest.tasks.verdict import Verdict


def repair(settings: Settings, verdict: Verdict, progress: Progress, stop: threading.Event) -> Outcome:
    """Do what `run` does, and write again what the verdict says is wrong, whatever the digests say."""
    if images := [found.name for found in verdict.differing if found.kind == "image"]:
        forget_images(settings, images)
    wrong = verdict.distrusted, verdict.misembedded
    return run(with_existing_parquet(settings), progress, stop, *wrong, rewrite=verdict.has_wrong_files)
