"""Embed the catalog into the store and into files, without Milvus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core.errors import ConfigError
from ingest.core.records import Stage
from ingest.pipeline import export_files
from ingest.pipeline.export_content import ExportPaths
from ingest.pipeline.outcome import Outcome, finish, raise_if_stopped, unusable
from ingest.pipeline.report import Summary
from ingest.pipeline.without_torch import open_pipeline

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress


def embed(settings: Settings, progress: Progress, stop: threading.Event, npy: Path, ids: Path) -> Outcome:
    """Embed the catalog into the store and write the `.npy` pair, without Milvus."""
    with open_pipeline(settings, progress, stop) as pipeline:
        summary = Summary()
        usable = sum(1 for _ in pipeline.report.keep_skipped(pipeline.embed(pipeline.images(decodes=True))))
        raise_if_stopped(pipeline, summary)
        exported = export_files.export(pipeline, ExportPaths(npy, ids))
        summary.unchanged = usable - min(usable, progress.items(Stage.EMBEDDING))
        faults = [*unusable(pipeline, usable), *exported.faults]
        return finish(pipeline, summary, {"vectors": npy, "ids": ids}, exported.notes, faults)


def check_places(npy: Path, ids: Path) -> None:
    """Raise ConfigError for files that cannot be written beside each other, before anything is embedded."""
    for flag, path in (("--output", npy), ("--meta", ids)):
        if path.is_dir():
            raise ConfigError(f"{flag} {path} is a directory; name a file.")
    if npy.resolve() == ids.resolve() or (npy.exists() and ids.exists() and npy.samefile(ids)):
        raise ConfigError(f"--output and --meta both name {npy}; name two files.")
    for ending in (".manifest.json", ".images.npz"):
        if ids.resolve() == npy.with_name(f"{npy.stem}{ending}").resolve():
            raise ConfigError(f"--meta {ids} is the name of --output's manifest; choose another name.")
