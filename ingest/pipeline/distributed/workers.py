"""What Ray's workers do with a block: they call the same stage functions as a run on one machine.

No code here depends on Ray. An exception in a worker comes back as a value: a block is lost only if a process dies.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ingest.catalog.validation import image_fields
from ingest.core.records import Decoded, Embedded, ImageFile, Skipped, Stage
from ingest.embedding import encoder as embedding
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.pixel_cache import PixelCache
from ingest.images.cache.cache import FOLDER, ImageCache
from ingest.images.cache.index import ImageIndex
from ingest.images.stage import ImageStage
from ingest.images.urls import UrlKey
from ingest.milvus import writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.pipeline.distributed.blocks import Done, FetchedBlock, Prepared, without_paths
from ingest.runtime.hash_index import ABSENT, HashIndex, pack_keys
from ingest.store import concurrent_shards, stage
from ingest.store.base import KEY_BYTES
from ingest.store.shared_vectors import SharedVectors
from ingest.sync.diff import CollectionDiff
from ingest.sync.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.core.contract import Contract
    from ingest.core.settings import Settings
    from ingest.embedding.checkpoint import Checkpoint
    from ingest.embedding.encoder import Encoder
    from ingest.pipeline.distributed.blocks import Block
    from ingest.store.shared_index import SharedKeyIndex

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a run must know; `store` is the folder or URL of the embedding space's vectors.

    The run `began` at this time, in seconds since 1970, by the driver's clock.
    """

    settings: Settings
    contract: Contract
    checkpoint: Checkpoint
    store: str
    encoder: Callable[[Job], Encoder]
    began: float = field(default_factory=time.time)


def load_clip(job: Job) -> Encoder:
    """Return the model that the settings name."""
    settings = job.settings
    return ClipEncoder(job.checkpoint, settings.device, settings.dtype, settings.batch)


def prepare(block: Block, job: Job, stored: SharedKeyIndex) -> Prepared:
    """Put a block's images on disk, compare them with their rows, and decode those without a vector in the store.

    The cache's index is in memory here, filled with the block's entries: what it has besides afterwards is new.
    """
    settings, space = job.settings, job.checkpoint.space
    index_of_store = HashIndex.of(stored.keys)
    begun = time.perf_counter()
    with ExitStack() as stack:
        index = ImageIndex(Path(":memory:"))
        cache = stack.enter_context(ImageCache(settings.data / FOLDER, index, url_key=UrlKey(settings.url_key)))
        before = {item.shared for item in block} | {item.entry for item in block}
        index.put_all(item.shared for item in block if item.shared is not None)
        index.put_all(item.entry for item in block if item.entry is not None)
        unusable = {row for item in block for row in item.unusable}
        index.put_unusable(tuple(unusable))
        fields = image_fields(job.contract, settings.image_column)
        images = stack.enter_context(ImageStage(settings, cache, fields=fields, began=job.began))
        steps = job.checkpoint.preprocessing
        preprocessed = PixelCache(settings.data / "preprocessed", steps, exact=settings.exact)
        decode = images.decoder(steps)

        def is_known(candidates: Sequence[ImageFile]) -> list[bool]:
            rows = {item.product.product_id: item.sha256 for item in block}
            of_store = index_of_store.find(pack_keys([image.sha256 for image in candidates], KEY_BYTES)) != ABSENT
            of_rows = [rows[image.product.product_id] == image.sha256.hex() for image in candidates]
            return [either or also for either, also in zip(of_store.tolist(), of_rows, strict=True)]

        # Only decoding shows whether an image is usable, or the product's next one has to be taken.
        decoder = decode if any(item.product.more_images for item in block) else None
        located = images.find((item.product for item in block), download=True, decoder=decoder, is_known=is_known)
        with_pixels = tuple(located)
        found = tuple(_without_pixels(record) for record in with_pixels)
        fetched = time.perf_counter()
        differing = [record for record in _difference(block, space.fingerprint).changes(with_pixels)
                     if isinstance(record, ImageFile)]  # fmt: skip
        keys = pack_keys([image.sha256 for image in differing], KEY_BYTES)
        held = (index_of_store.find(keys) != ABSENT).tolist()
        missing = [image for image, is_held in zip(differing, held, strict=True) if not is_held]
        decoded = decode(list(preprocessed.load(missing)))
        pending = tuple(record for record in decoded if isinstance(record, Decoded | Skipped))
        with_vector = tuple(_without_pixels(image) for image in compress(differing, held))
        entries = tuple(entry for entry in index.entries() if entry not in before)
        contents = tuple(index.contents())
        new_unusable = tuple(row for row in index.all_unusable() if row not in unusable)
    places = tuple(item.place for item in block)
    seconds: dict[str, float] = {Stage.IMAGES: fetched - begun, Stage.DECODE: time.perf_counter() - fetched}
    fetched_block = FetchedBlock(places, tuple(without_paths(found)), with_vector, entries, contents, new_unusable)
    return Prepared(fetched_block, pending, seconds)


class Embedder:
    """Embeds a block's pixels and writes the vectors as a shard; holds the model."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._embedded = 0
        self._encoder = embedding.CountingEncoder(job.encoder(job), self._count)

    def __call__(self, prepared: Prepared) -> Done:
        """Return the block with its vectors, which the store has by then."""
        self._embedded, begun = 0, time.perf_counter()
        results = tuple(embedding.embed(prepared.pending, self._encoder, self._encoder.size))
        new = {record.sha256: record.vector for record in results if isinstance(record, Embedded)}
        shard, keys = "", None
        if new:
            keys = pack_keys(list(new), KEY_BYTES)
            shard = concurrent_shards.put(self._job.store, keys, np.stack(list(new.values())))
        seconds = {**prepared.seconds, Stage.EMBEDDING: time.perf_counter() - begun}
        decoded = sum(isinstance(record, Embedded) for record in results)
        return Done(prepared.block, results, shard, keys, decoded, self._embedded, seconds=seconds)

    def _count(self, images: int) -> None:
        self._embedded += images


class Upserter:
    """Writes a block's rows, also those whose vector was in the store; holds the connection to Milvus."""

    def __init__(self, job: Job, stored: SharedKeyIndex) -> None:
        self._job = job
        self._vectors = SharedVectors(job.store, job.checkpoint.space.dim, stored)
        self._stack = ExitStack()
        self._collection: Collection | None = None

    def __call__(self, done: Done) -> Done:
        """Return the block when the server has acknowledged its rows.

        Images whose stored vector turns out to be damaged stay among its block's `known`.
        """
        if not done.results and not done.block.known:
            return done
        begun = time.perf_counter()
        if self._collection is None:
            settings = self._job.settings
            connection = self._stack.enter_context(connect(settings.milvus))
            self._collection = Collection(connection, self._job.contract, self._job.checkpoint.space)
        found = list(stage.lookup(done.block.known, self._vectors))
        rows = {record.product.product_id: record for record in (*done.results, *found) if isinstance(record, Embedded)}
        for _ in writer.upsert(rows.values(), self._collection):
            pass
        return replace(
            done,
            block=replace(done.block, known=tuple(record for record in found if isinstance(record, ImageFile))),
            results=tuple(record for record in done.results if isinstance(record, Skipped)),
            written=tuple(rows),
            seconds={**done.seconds, Stage.MILVUS: time.perf_counter() - begun},
        )


def _without_pixels(record: T) -> T:
    """Return a record as it is sent to the driver."""
    return record._replace(decoded=None) if isinstance(record, ImageFile) else record


def _difference(block: Block, fingerprint: str) -> CollectionDiff:
    """Return a comparison with the rows of this block, which decides as the driver's does."""
    inventory = Inventory()
    rows = [(item.product.product_id, item.digest, item.sha256) for item in block if item.digest is not None]
    if rows:
        inventory.add(*zip(*rows, strict=True))
    return CollectionDiff(inventory, fingerprint)
