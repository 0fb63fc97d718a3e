"""What Ray's workers do with a block: the very stages of the one-machine line, called from its functions' outside.

Nothing here knows Ray. What a worker raises comes back as a value: only a process that dies is a block that is lost.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.records import Decoded, Embedded, ImageFile, Skipped
from ingest.embedding import encoder as embedding
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.pixel_cache import PixelCache
from ingest.images.cache.cache import ImageCache
from ingest.images.cache.entry import CacheEntry, ImageContent
from ingest.images.cache.index import ImageIndex
from ingest.images.stage import ImageStage
from ingest.milvus import writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.pipeline.distributed.blocks import Done, Prepared, without_vectors
from ingest.runtime.hash_index import ABSENT, HashIndex, pack_keys
from ingest.store import concurrent_shards
from ingest.store.base import KEY_BYTES
from ingest.sync.diff import CollectionDiff
from ingest.sync.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.core.contract import Contract
    from ingest.core.settings import Settings
    from ingest.embedding.checkpoint import Checkpoint
    from ingest.embedding.encoder import Encoder
    from ingest.pipeline.distributed.blocks import Block
    from ingest.runtime.hash_index import SortedKeys


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a run must know. `store` is the folder or URL of the space's vectors."""

    settings: Settings
    contract: Contract
    checkpoint: Checkpoint
    store: str
    encoder: Callable[[Job], Encoder]


def load_clip(job: Job) -> Encoder:
    """Return the model that the settings name."""
    settings = job.settings
    return ClipEncoder(job.checkpoint, settings.device, settings.dtype, settings.batch)


def prepare(block: Block, job: Job, known: SortedKeys) -> Prepared:
    """Have a block's pictures on disk, tell whose row differs, and decode those whose vector nobody has."""
    settings, space = job.settings, job.checkpoint.space
    there = HashIndex.of(known)
    with ExitStack() as stack:
        index = ImageIndex(Path(":memory:"))
        cache = stack.enter_context(ImageCache(settings.data / "image_cache", index))
        for item in block:
            if item.entry is not None:
                index.put(item.entry)
        images = stack.enter_context(ImageStage(settings, cache))
        pictures = tuple(images.find((item.product for item in block), download=True))
        steps = job.checkpoint.preprocessing
        preprocessed = PixelCache(settings.data / "preprocessed", steps, exact=settings.exact)
        decode = preprocessed.wrap(images.decoder(steps, steps.least))
        differing = [record for record in _difference(block, space.fingerprint).changes(pictures)
                     if isinstance(record, ImageFile)]  # fmt: skip
        held = there.find(pack_keys([picture.sha256 for picture in differing], KEY_BYTES)) != ABSENT
        decoded = [decode(picture) for picture, has in zip(differing, held, strict=True) if not has]
        pending = tuple(record for record in decoded if isinstance(record, Decoded | Skipped))
        known_ = tuple(picture for picture, has in zip(differing, held, strict=True) if has)
        before = {item.entry for item in block}
        entries = tuple(entry for entry in map(_entry, index.select(_ENTRIES)) if entry not in before)
        contents = tuple((row[0], ImageContent(row[1], row[2], bool(row[3]))) for row in index.select(_CONTENTS))
    return Prepared(tuple(item.place for item in block), pictures, known_, pending, entries, contents)


class Embedder:
    """Holds the model; gives a block's pixels their vectors and writes those as a shard."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._embedded = 0
        self._encoder = embedding.CountingEncoder(job.encoder(job), self._count)

    def __call__(self, block: Prepared) -> Done:
        """Return the block with its vectors, which are in the store then."""
        self._embedded = 0
        results = tuple(embedding.embed(block.pending, self._encoder, self._encoder.size))
        new = {record.sha256: record.vector for record in results if isinstance(record, Embedded)}
        shard = ""
        if new:
            keys = pack_keys(list(new), KEY_BYTES)
            shard = concurrent_shards.put(self._job.store, keys, np.stack(list(new.values())))
        return Done(block.places, block.pictures, block.known, results, block.entries, block.contents,
                    shard, self._embedded)  # fmt: skip

    def _count(self, pictures: int) -> None:
        self._embedded += pictures


class Upserter:
    """Holds a connection to Milvus; writes a block's rows."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._stack = ExitStack()
        self._collection: Collection | None = None

    def __call__(self, block: Done) -> Done:
        """Return the block when the server has acknowledged its rows."""
        if not block.results:
            return block
        if self._collection is None:
            settings = self._job.settings
            to = (settings.milvus_uri, settings.token, settings.db_name, settings.max_wait)
            connection = self._stack.enter_context(connect(*to))
            self._collection = Collection(connection, self._job.contract, self._job.checkpoint.space)
        rows = {record.product.product_id: record for record in block.results if isinstance(record, Embedded)}
        for _ in writer.upsert(rows.values(), self._collection):
            pass
        return without_vectors(block, block.results)


_ENTRIES = f"SELECT {', '.join(field.name for field in fields(CacheEntry))} FROM picture"  # noqa: S608
_CONTENTS = "SELECT sha256, width, height, blank FROM content"


def _entry(row: tuple[object, ...]) -> CacheEntry:
    return CacheEntry(*row)  # type: ignore[arg-type]


def _difference(block: Block, fingerprint: str) -> CollectionDiff:
    """Return the same judgement as the driver's, over the rows of this block alone."""
    there = Inventory()
    rows = [(item.product.product_id, item.digest, item.sha256) for item in block if item.digest is not None]
    if rows:
        there.add(*zip(*rows, strict=True))
    return CollectionDiff(there, fingerprint)
