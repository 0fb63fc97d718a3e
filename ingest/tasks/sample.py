"""Measures a sample of the user's catalog on this machine, for an estimate: sizes, bandwidth, decoding, embedding."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ingest.catalog import kept_profiles, reader
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
    """The measured catalog: `pictures` of the `sampled` products have an image, and `fetched` of those are new."""

    catalog: CatalogSize
    sampled: int
    pictures: int
    fetched: int
    model: str


def measure(settings: Settings, progress: Progress, stop: threading.Event) -> CatalogSample:
    """Measure the first products; with --download-missing their images are downloaded, and kept in the cache.

    The number of products is estimated from the catalog's lines, or counted if the catalog is compressed.
    """
    opened = workspace.open_for_writing if settings.download_missing else workspace.open_read_only
    with ExitStack() as stack:
        pipeline = Pipeline(stack, replace(settings, sample=settings.sample or SAMPLE), progress, stop, opened)
        total = settings.sample or reader.estimate(settings.catalog) or _count_products(pipeline)
        cached = {path.name for path in (settings.data / "image_cache").glob("*")}
        began = time.perf_counter()
        records = list(pipeline.images(download=settings.download_missing))
        seconds = time.perf_counter() - began
        images = [record for record in records if isinstance(record, ImageFile)]
        sizes = [image.path.stat().st_size for image in images]
        new = [
            size for image, size in zip(images, sizes, strict=True)
            if image.path.parent == settings.data / "image_cache" and image.path.name not in cached
        ]  # fmt: skip
        texts = [_text_bytes(image) for image in images]
        decoded, decode_s = _time_decoding(pipeline, images)
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
        return CatalogSample(catalog, len(records), len(images), len(new), pipeline.space.model)


def _count_products(pipeline: Pipeline) -> int:
    columns = Columns.of(pipeline.settings, kept_profiles.recall(pipeline.settings))
    products = reader.read_catalog(pipeline.settings.catalog, pipeline.contract, columns)
    return sum(1 for _ in parallel.take_until(products, pipeline.stop))


def _text_bytes(image: ImageFile) -> int:
    metadata = image.product.metadata
    values = sum(len(str(value).encode()) if isinstance(value, str) else 8 for value in metadata.values())
    return len(image.product.product_id.encode()) + values


def _time_decoding(pipeline: Pipeline, images: list[ImageFile]) -> tuple[list[Decoded], float]:
    """Return the decoded images, and the seconds that it took."""
    began = time.perf_counter()
    pixels = [record for record in pipeline.decode(images) if isinstance(record, Decoded)]
    return pixels, time.perf_counter() - began


def _embedding_rate(pipeline: Pipeline, decoded: list[Decoded]) -> float:
    """Return images per second in whole batches, after a batch to warm up."""
    if not decoded:
        return 0.0
    encoder = pipeline.encoder()
    size = encoder.size().batch
    batches = [[record.pixels for record in batch] for batch in parallel.batched(decoded, size)]
    encoder.images(batches[0])
    began = time.perf_counter()
    for batch in batches:
        encoder.images(batch)
    return len(decoded) / (time.perf_counter() - began)
