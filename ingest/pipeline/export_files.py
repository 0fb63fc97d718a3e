"""Writes the exported files, unless they would lose too many of the last export's products."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.errors import ExportError, NotLiveError
from ingest.core.wording import quantity
from ingest.exports import faiss_index, npy_files
from ingest.exports.manifest import read_manifest
from ingest.exports.parquet_file import ParquetExport
from ingest.pipeline.export_content import ExportContent, ExportPaths, rows_to_export
from ingest.pipeline.last_good_images import write_images
from ingest.runtime.parallel import batched
from ingest.runtime.profiler import EXPORTS
from ingest.sync.guard import ANY, MOST_LOST, guard
from ingest.sync.high_water import HighWater

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ingest.core.settings import Settings
    from ingest.exports.npy_files import RowSource
    from ingest.pipeline.pipeline import Pipeline
    from ingest.sync.inventory import Inventory

_BLOCK = 4096  # products looked up at a time


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was exported: `rows`, of which `carried` have the last good image of a product that fails today.

    `missing` counts products that have an image and no row. `refusal` says why the last files stay as they were, "" if
    they were replaced.
    """

    rows: int = 0
    carried: int = 0
    missing: int = 0
    refusal: str = ""

    @property
    def faults(self) -> list[str]:
        """Why the exports are not live."""
        return [self.refusal] if self.refusal else []

    @property
    def notes(self) -> list[str]:
        """What a user should know about the files."""
        what = "1 product fails" if self.carried == 1 else f"{self.carried:,} products fail"
        return [f"{what} today, and the files have the last good vector"] if self.carried else []


def paths(settings: Settings) -> ExportPaths:
    """Return where the settings say that exports go."""
    parquet = settings.parquet_file if settings.parquet else None
    return ExportPaths(settings.npy, settings.npy_ids, settings.indexes, parquet)


def parquet_export(pipeline: Pipeline, path: Path | None) -> ParquetExport | None:
    """Return the Parquet file to be written at `path`, None if none is."""
    if path is None or pipeline.fields is None:
        return None
    return ParquetExport(path, pipeline.contract, pipeline.space, pipeline.fields)


def existing(pipeline: Pipeline) -> dict[str, Any]:
    """Return the exported files that exist, by what they hold."""
    settings = pipeline.settings
    files = faiss_index.IndexFiles.of(settings.indexes, pipeline.space.dim)
    places = {"vectors": settings.npy, "ids": settings.npy_ids, "FAISS": files.index}
    if settings.parquet:
        places["Parquet"] = settings.parquet_file
    return {name: path for name, path in places.items() if path.exists()}


def export(
    pipeline: Pipeline, files: ExportPaths, collection: Inventory | None = None,
    repair: Callable[[list[bytes]], None] | None = None, *,
    drops_failed: bool = False, is_judged: bool = True, rewrite: bool = False,
) -> ExportResult:  # fmt: skip
    """Write the catalog's rows as `rows_to_export` chooses them and `write` writes them, timed as exports."""
    with pipeline.progress.clock.working(EXPORTS):
        rows = rows_to_export(pipeline, files, collection, drops_failed=drops_failed, is_judged=is_judged)
        return write(pipeline, files, rows, repair, rewrite=rewrite)


def write(
    pipeline: Pipeline, files: ExportPaths, rows: RowSource, repair: Callable[[list[bytes]], None] | None = None, *,
    rewrite: bool = False,
) -> ExportResult:  # fmt: skip
    """Write the `.npy` pair, FAISS and Parquet files, unless they would lose too many of the last export's products.

    Files that were made from exactly these rows are kept, unless `rewrite`. `repair` gets the keys of vectors that turn
    out to be damaged, to replace them. Raises StorageError if the disk is full.
    """

    def check() -> None:
        if why := refusal(pipeline, files, rows):
            raise NotLiveError(f"the exported files stay as they were, because {why}")

    npy, ids = files.npy, files.ids
    try:
        manifest = npy_files.write(
            npy, ids, rows, pipeline.store, pipeline.space.fingerprint, check, repair,
            parquet=parquet_export(pipeline, files.parquet), rewrite=rewrite, forgets=pipeline.settings.allow_smaller,
        )  # fmt: skip
    except NotLiveError as refused:
        return ExportResult(refusal=str(refused))
    write_images(npy, manifest, rows, pipeline.store)
    if files.indexes is not None:
        faiss_index.build(npy, ids, files.indexes, pipeline.contract.index, rewrite=rewrite)
    if isinstance(rows, ExportContent):
        return ExportResult(manifest.rows, len(rows), rows.missing(manifest.rows))
    return ExportResult(manifest.rows)


def are_current(pipeline: Pipeline, files: ExportPaths, rows: RowSource) -> bool:
    """Return whether the exported pair was made from exactly these rows, so that it would not be written again."""
    manifest = read_manifest(files.npy)
    content, fingerprint = npy_files.content_digest(rows, pipeline.store), pipeline.space.fingerprint
    return manifest is not None and manifest.matches(content, fingerprint, files.npy, files.ids)


def is_parquet_current(pipeline: Pipeline, files: ExportPaths, rows: RowSource) -> bool:
    """Return whether the Parquet file, if one is wanted, has exactly these rows and today's fields."""
    export = parquet_export(pipeline, files.parquet)
    if export is None:
        return True
    return export.is_current(npy_files.content_digest(rows, pipeline.store), pipeline.space.fingerprint)


def refusal(pipeline: Pipeline, files: ExportPaths, rows: RowSource, coming: Iterable[str] = ()) -> str:
    """Return why `rows` may not replace the last export, because too many products would be lost; "" if they may.

    `coming` are products that will have a row, though the store may not have their vector before a run.
    """
    if pipeline.settings.sample and files.npy == pipeline.settings.npy:
        return ""  # a sample is exported to files of its own
    try:
        last = set(npy_files.read_ids(files.ids))
    except ExportError:
        return ""  # there is no last export, or nobody can use it
    foreseen = set(coming)
    lost, found = last - foreseen, 0
    for block in batched(rows.pairs(), _BLOCK):
        held = pipeline.store.holds([image for _, image in block])
        names = [product_id for product_id, _ in block]
        lost.difference_update(compress(names, held))
        found += sum(is_held or product_id in foreseen for product_id, is_held in zip(names, held, strict=True))
        foreseen.difference_update(names)
    loss = guard(
        np.fromiter((product_id in lost for product_id in last), bool, len(last)),
        _high_water(files).most(len(last)),
        ANY if pipeline.settings.allow_smaller else MOST_LOST,
        found=found + len(foreseen),
    )
    if not loss.reason:
        return ""
    if are_current(pipeline, files, rows):
        return ""  # the file of ids is damaged, and names products that were never exported
    failing = sum(product_id in lost for product_id, _ in pipeline.wanted.products())
    where = "sample" if pipeline.settings.sample else "catalog"
    why = [f"{failing:,} fail today"] * bool(failing)
    why += [f"{len(lost) - failing:,} not in the {where}"] * (len(lost) > failing)
    return (
        f"they would lose {len(lost):,} of their {quantity(len(last), 'product')} ({', '.join(why)}), "
        f"{loss.reason}; if that is right, pass --allow-smaller"
    )


def _high_water(files: ExportPaths) -> HighWater:
    manifest = read_manifest(files.npy)
    return HighWater.of(manifest.high_water) if manifest else HighWater()
