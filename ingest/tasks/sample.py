"""Measures a sample of one's own catalog on this machine, for an estimate: sizes, bandwidth, decoding, embedding."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ingest.catalog import reader
from ingest.catalog.rows import Columns
from ingest.core.errors import InterruptedRunError
from ingest.core.records import Decoded, ImageFile, Stage
from ingest.pipeline import workspace
from ingest.pipeline.pipeline import Pipeline
from ingest.runtime import parallel
from ingest.tasks.estimate import CatalogSize

if TYPE_CHECKING:
    import threading

    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress

SAMPLE = 200


@dataclass(frozen=True, slots=True)
class CatalogSample:
    """The catalog as measured: `pictures` of the `sampled` products were to be had, `fetched` of them fetched now."""

    catalog: CatalogSize
    sampled: int
    pictures: int
    fetched: int
    model: str


def measure(settings: Settings, progress: Progress, stop: threading.Event) -> CatalogSample:
    """Measure the first products; with --download-missing their pictures are fetched, and kept in the cache.

    The products are counted by the catalog's lines, and by reading it where it is compressed.
    """
    keeping = workspace.open_for_writing if settings.download_missing else workspace.open_read_only
    with ExitStack() as stack:
        pipeline = Pipeline(stack, replace(settings, sample=settings.sample or SAMPLE), progress, stop, keeping)
        total = settings.sample or reader.estimate(settings.catalog) or _counted(pipeline)
        cached = {path.name for path in (settings.data / "image_cache").glob("*")}
        began = time.perf_counter()
        records = list(pipeline.pictures(download=settings.download_missing))
        seconds = time.perf_counter() - began
        pictures = [record for record in records if isinstance(record, ImageFile)]
        sizes = [picture.path.stat().st_size for picture in pictures]
        new = [
            size for picture, size in zip(pictures, sizes, strict=True)
            if picture.path.parent == settings.data / "image_cache" and picture.path.name not in cached
        ]  # fmt: skip
        texts = [_text_bytes(picture) for picture in pictures]
        decoded, decode_s = _timed_decoding(pipeline, pictures)
        embedded_per_s = _embedding_rate(pipeline, decoded)
        if stop.is_set():
            raise InterruptedRunError("interrupted; nothing was changed")
        pipeline.cache.flush()
        catalog = CatalogSize(
            products=max(total, progress.items(Stage.CATALOG)) if len(records) >= SAMPLE else len(records),
            dim=pipeline.space.dim,
            m=pipeline.contract.index.m,
            picture_bytes=float(np.mean(sizes)) if sizes else 0.0,
            text_bytes=float(np.mean(texts)) if texts else 0.0,
            bandwidth=8 * sum(new) / seconds if new else 0.0,
            decoded_per_s=len(decoded) / decode_s if decoded else 0.0,
            embedded_per_s=embedded_per_s,
        )
        return CatalogSample(catalog, len(records), len(pictures), len(new), pipeline.space.model)


def _counted(pipeline: Pipeline) -> int:
    columns = Columns(pipeline.settings.id_column, pipeline.settings.image_column)
    return sum(
        1
        for _ in parallel.take_until(
            reader.read_catalog(pipeline.settings.catalog, pipeline.contract, columns), pipeline.stop
        )
    )


def _text_bytes(picture: ImageFile) -> int:
    metadata = picture.product.metadata
    values = sum(len(str(value).encode()) if isinstance(value, str) else 8 for value in metadata.values())
    return len(picture.product.product_id.encode()) + values


def _timed_decoding(pipeline: Pipeline, pictures: list[ImageFile]) -> tuple[list[Decoded], float]:
    began = time.perf_counter()
    pixels = pipeline.decoded(pictures)
    return [record for record in pixels if isinstance(record, Decoded)], time.perf_counter() - began


def _embedding_rate(pipeline: Pipeline, decoded: list[Decoded]) -> float:
    """Return pictures a second in whole batches; the first one warms up."""
    if not decoded:
        return 0.0
    encoder = pipeline.encoder()
    size = encoder.size().batch
    batches = [np.stack([record.pixels for record in batch]) for batch in parallel.batched(decoded, size)]
    encoder.images(batches[0])
    began = time.perf_counter()
    for batch in batches:
        encoder.images(batch)
    return len(decoded) / (time.perf_counter() - began)
