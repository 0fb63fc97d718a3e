"""A run's stages from products to rows, on a Ray cluster.

The driver reads the catalog and looks at the files in place, which settles products that are up to date; a night
without changes needs no cluster. All others go in blocks to the workers, which fetch, decode, embed, write shards and
upsert. The driver judges and counts what comes back, and owns the image cache's index.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core import display
from ingest.core.records import Embedded, ImageFile, Product, Skipped, Stage
from ingest.exports.row_list import is_listed
from ingest.images.resolver import has_scheme, is_text
from ingest.images.unusable_images import UnusableImages
from ingest.milvus import writer
from ingest.pipeline.distributed import actor_pool, cluster, ray_data
from ingest.pipeline.distributed.blocks import BlockItem
from ingest.pipeline.distributed.workers import Job, load_clip
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.remote_files import is_remote
from ingest.store import factory, stage
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.embedding.encoder import Encoder
    from ingest.images.cache.entry import CacheEntry
    from ingest.milvus.collection import Collection
    from ingest.pipeline.distributed.actor_pool import ActorPool
    from ingest.pipeline.distributed.blocks import Block, Done
    from ingest.pipeline.first_write import FirstWrite
    from ingest.pipeline.pipeline import Pipeline
    from ingest.sync.diff import CollectionDiff
    from ingest.sync.inventory import Inventory

_LOG = "ray.log"  # in the run's folder: what Ray prints
_BLOCK = 256  # products, or the batch if that is larger; full batches of one size give the same bits on every machine
_NO_VECTOR = np.empty(0, np.float32)  # of a row that a worker has written
_KNOWN_BLOCK = 1024  # products whose vectors are probably in the store: there is little to do for each


def write_rows(
    pipeline: Pipeline,
    collection: Collection,
    difference: CollectionDiff,
    first: FirstWrite,
    encoder: Callable[[Job], Encoder] = load_clip,
) -> Generator[Embedded | Skipped, None, None]:
    """Write the rows that differ, on the cluster; yield what `writer.upsert` would yield, as blocks are finished.

    Rows that a worker has written come without their vectors. Raises EngineError, and what the stages raise.
    """
    settings = pipeline.settings
    actor_pool.check_settings(settings)
    upserting = not collection.connection.is_lite  # Milvus Lite is a file that this process holds
    tables: list[Any] = []
    shards: dict[str, NDArray[np.uint8]] = {}
    with ExitStack() as stack:
        for found in _judge_catalog(pipeline, difference):
            if isinstance(found, Skipped):
                yield found
                continue
            if not tables:
                first.check()
                stack.enter_context(display.divert(pipeline.report.folder / _LOG))
                stack.enter_context(cluster.connect(settings.address))
            tables.append(ray_data.put(len(tables), found))
        pool = cluster.wait_for_room(settings, pipeline.stop) if tables else None
        if pool is None:
            return
        stack.callback(pipeline.store.adopt, shards)
        stored, job = pipeline.store.share_index(), _job(pipeline, collection, encoder)
        for done in ray_data.run_blocks(tables, job, stored, pool, pipeline.stop, upserting=upserting):
            pipeline.cache.record(done.block.entries, done.block.contents)
            pipeline.cache.index.put_unusable(done.block.unusable)
            if done.keys is not None:
                shards[done.shard] = done.keys
            _count(done, pipeline, pool)
            yield from _judge(done, _written(done, pipeline, collection), pipeline, difference)


def _job(pipeline: Pipeline, collection: Collection, encoder: Callable[[Job], Encoder]) -> Job:
    """Return what the workers must know, with absolute paths, because they run in other folders."""
    settings, checkpoint = pipeline.settings, pipeline.checkpoint
    values = ((name, getattr(settings, name)) for name in ("catalog", "data", "images_root", "host_headers"))
    paths: dict[str, Any] = {name: value.absolute() for name, value in values if isinstance(value, Path)}
    store = settings.store
    if store and not is_remote(store, "--store"):
        store = str(Path(store).absolute())
    settings = replace(settings, **paths, store=store, decode_in="threads")  # each block has a process of Ray's
    if Path(checkpoint.location).is_dir():
        checkpoint = replace(checkpoint, location=str(Path(checkpoint.location).absolute()))
    return Job(
        settings, collection.contract, checkpoint, factory.store_location(settings, pipeline.space.fingerprint), encoder
    )


def _judge_catalog(pipeline: Pipeline, difference: CollectionDiff) -> Iterator[Skipped | Block]:
    """Read the catalog; yield what is skipped, and the products whose rows may differ, in blocks.

    Products whose image is in place and whose row is up to date are settled here. Those that need the model have blocks
    of their own, which fill its batches.
    """
    batch = pipeline.settings.batch or _BLOCK
    sizes = {True: _KNOWN_BLOCK, False: max(_BLOCK // batch, 1) * batch}
    gathered: dict[bool, list[BlockItem]] = {True: [], False: []}
    for records in pipeline.look_for_images():
        settled = _settle(records, pipeline, difference)
        rest: list[tuple[int, Product]] = []
        for record in records:
            if isinstance(record, Skipped):
                if is_listed(record):
                    pipeline.wanted.add(record.product_id)
                yield record
            elif isinstance(record, ImageFile) and record.product.product_id in settled:
                pipeline.wanted.add(record.product.product_id, record.sha256)
            else:
                product = record.product if isinstance(record, ImageFile) else record
                rest.append((pipeline.wanted.add(product.product_id), product))
        for is_known, item in _items(rest, pipeline, difference.inventory):
            block = gathered[is_known]
            block.append(item)
            if len(block) == sizes[is_known]:
                yield tuple(block)
                block.clear()
    yield from (tuple(block) for block in gathered.values() if block)


def _settle(
    records: Sequence[ImageFile | Product | Skipped], pipeline: Pipeline, difference: CollectionDiff
) -> set[str]:
    """Count the products whose row is up to date; return their ids."""
    images = [record for record in records if isinstance(record, ImageFile)]
    same = compress(images, difference.note_same(images).tolist())
    return {image.product.product_id for image in pipeline.count_images(same) if isinstance(image, ImageFile)}


def _unusable(product: Product, pipeline: Pipeline) -> tuple[tuple[bytes, str, str], ...]:
    """Return which of a product's URLs are known to give no image."""
    if not product.more_images or pipeline.settings.retry_failed:
        return ()
    known = UnusableImages(pipeline.cache, pipeline.settings)
    return known.rows([image.strip() for image in (product.image, *product.more_images)])


def _shared(product: Product, entry: CacheEntry | None, pipeline: Pipeline) -> CacheEntry | None:
    """Return the row of another product that has downloaded the same URL, if the product's own may not do."""
    cache, url = pipeline.cache, product.image
    if not has_scheme(url) or not (is_text(product.product_id) and is_text(url)):
        return None
    if entry is not None and entry.sha256 is not None and entry.is_from(url, cache.url_key):
        return cache.find_shared(product.product_id, url) if pipeline.settings.refresh_after_s is not None else None
    return cache.find_shared(product.product_id, url)


def _items(
    products: Sequence[tuple[int, Product]], pipeline: Pipeline, inventory: Inventory
) -> Iterator[tuple[bool, BlockItem]]:
    """Add to products and their places what is known about them; also say whether the store has the cached image."""
    if not products:
        return
    ids = [product.product_id for _, product in products]
    entries = pipeline.cache.index.get_all(list(filter(is_text, ids)))
    images = [entry.sha256 for entry in entries.values() if entry.sha256 is not None]
    held = dict(zip(images, pipeline.store.holds(images), strict=True))
    for (place, product), at in zip(products, inventory.find(ids).tolist(), strict=True):
        entry = entries.get(product.product_id)
        is_known = entry is not None and entry.sha256 is not None and held[entry.sha256]
        shared, unusable = _shared(product, entry, pipeline), _unusable(product, pipeline)
        if at == ABSENT:
            yield is_known, BlockItem(place, product, None, "", entry, shared, unusable)
            continue
        digest = "" if inventory.states[at] == RowState.FOREIGN else inventory.digest(at)
        yield is_known, BlockItem(place, product, digest, inventory.sha256(at).hex(), entry, shared, unusable)


def _written(done: Done, pipeline: Pipeline, collection: Collection) -> list[Embedded | Skipped]:
    """Upsert the rows that no worker has written, and return what came of them."""
    results = list(writer.upsert(done.results, collection))
    return results + list(writer.upsert(_from_store(done.block.known, pipeline), collection))


def _from_store(images: Iterable[ImageFile], pipeline: Pipeline) -> Iterator[Embedded | Skipped]:
    """Give images their stored vectors; embed here those whose vector turns out to be damaged."""
    for record in stage.lookup(images, pipeline.store):
        if isinstance(record, ImageFile):
            yield from pipeline.embed([record])
        else:
            yield record


def _count(done: Done, pipeline: Pipeline, pool: ActorPool) -> None:
    """Count a block in the progress."""
    progress = pipeline.progress
    for part, seconds in done.seconds.items():
        progress.clock.add(part, seconds, pool.at_once[part])
    progress.add(Stage.DECODE, done.decoded)
    progress.add(Stage.EMBEDDING, done.embedded)


def _judge(
    done: Done, results: list[Embedded | Skipped], pipeline: Pipeline, difference: CollectionDiff
) -> Iterator[Embedded | Skipped]:
    """Compare a block with the collection as the other engine does, and note its images for the exports."""
    images = done.block.images
    places = zip(done.block.places, images, strict=True)
    pipeline.wanted.fill((place, image.sha256) for place, image in places if isinstance(image, ImageFile))
    written, others = set(done.written), {_product_id(record): record for record in results}
    for image in difference.changes(pipeline.count_images(images)):
        if isinstance(image, Skipped):
            yield image
            continue
        product_id = image.product.product_id
        is_written = product_id in written
        record = Embedded(image.product, image.sha256, _NO_VECTOR) if is_written else others[product_id]
        if isinstance(record, Embedded):
            pipeline.progress.add(Stage.STORE, 1)
            pipeline.preprocessed.remove(record.sha256)
        yield record


def _product_id(record: Embedded | Skipped) -> str:
    return record.product_id if isinstance(record, Skipped) else record.product.product_id
