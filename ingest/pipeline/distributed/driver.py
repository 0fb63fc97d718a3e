"""A run's stages from products to rows, on a Ray cluster.

The driver reads the catalog, sends blocks of products to the workers, judges and counts what comes back in catalog
order, and owns the image cache's index. The workers fetch, decode, embed, write shards and upsert.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.core import display
from ingest.core.digest import row_digest
from ingest.core.records import Embedded, ImageFile, Product, Skipped, Stage
from ingest.images.resolver import is_text
from ingest.milvus import writer
from ingest.pipeline.distributed import actor_pool, cluster, ray_data
from ingest.pipeline.distributed.blocks import BlockItem, CatalogOrder, FetchedBlock
from ingest.pipeline.distributed.workers import Job, load_clip
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.remote_files import is_remote
from ingest.store import factory, stage
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from ingest.embedding.encoder import Encoder
    from ingest.milvus.collection import Collection
    from ingest.pipeline.distributed.actor_pool import ActorPool
    from ingest.pipeline.distributed.blocks import Block, Done
    from ingest.pipeline.first_write import FirstWrite
    from ingest.pipeline.pipeline import Pipeline
    from ingest.sync.diff import CollectionDiff

_LOG = "ray.log"  # in the run's folder: what Ray prints
_BLOCK = 256  # products, or the batch if that is larger; full batches of one size give the same bits on every machine


def write_rows(
    pipeline: Pipeline,
    collection: Collection,
    difference: CollectionDiff,
    first: FirstWrite,
    encoder: Callable[[Job], Encoder] = load_clip,
) -> Generator[Embedded | Skipped, None, None]:
    """Write the rows that differ, on the cluster; yield in catalog order what `writer.upsert` would yield.

    Rows that a worker has written come without their vectors. Raises EngineError, and what the stages raise.
    """
    settings = pipeline.settings
    actor_pool.check_settings(settings)
    job = _job(pipeline, collection, encoder)
    order = CatalogOrder()
    blocks = _blocks(pipeline, difference, order, first)
    upserting = not collection.connection.is_lite  # Milvus Lite is a file that this process holds
    with display.divert(pipeline.report.folder / _LOG), cluster.connect(settings.address):
        pool = cluster.wait_for_room(settings, pipeline.stop)
        if pool is None:
            return
        known = pipeline.store.sorted_keys()
        for done in ray_data.run_blocks(blocks, job, known, pool, pipeline.stop, upserting=upserting):
            _adopt(done, pipeline)
            written = _written(done, pipeline, collection)
            _count(done, written, pipeline, pool)
            order.put(done.block, written)
            yield from _judge(order, pipeline, difference)
    if not pipeline.stop.is_set():
        yield from _judge(order, pipeline, difference)


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


def _blocks(pipeline: Pipeline, difference: CollectionDiff, order: CatalogOrder, first: FirstWrite) -> Iterator[Block]:
    """Gather products into blocks; all are gathered before the first goes to a worker, which may write its rows.

    Products that look unchanged get blocks of their own, so that the others fill whole batches of the model.
    """
    batch = pipeline.settings.batch or _BLOCK
    size = max(_BLOCK // batch, 1) * batch
    gathered: dict[bool, list[BlockItem]] = {True: [], False: []}
    for place, record in enumerate(pipeline.products()):
        if isinstance(record, Skipped):
            order.put(FetchedBlock((place,), (record,)))
            continue
        item = _item(place, record, pipeline, difference)
        is_unchanged = _looks_unchanged(item, pipeline.space.fingerprint)
        if not is_unchanged:
            first.check()
        block = gathered[is_unchanged]
        block.append(item)
        if len(block) == size:
            yield tuple(block)
            block.clear()
    yield from (tuple(block) for block in gathered.values() if block)


def _item(place: int, product: Product, pipeline: Pipeline, difference: CollectionDiff) -> BlockItem:
    inventory = difference.inventory
    at = int(inventory.find([product.product_id])[0])
    entry = pipeline.cache.get(product.product_id) if is_text(product.product_id) else None
    if at == ABSENT:
        return BlockItem(place, product, None, "", entry)
    digest = "" if inventory.states[at] == RowState.FOREIGN else inventory.digest(at)
    return BlockItem(place, product, digest, inventory.sha256(at).hex(), entry)


def _looks_unchanged(item: BlockItem, fingerprint: str) -> bool:
    """Return whether the row is right if the cached image still is."""
    entry = item.entry
    if entry is None or entry.sha256 is None:
        return False
    return item.digest == row_digest(item.product, entry.sha256, fingerprint)


def _adopt(done: Done, pipeline: Pipeline) -> None:
    """Add what the workers found and wrote to the image cache's index and to the store."""
    pipeline.cache.record(done.block.entries, done.block.contents)
    if done.shard:
        pipeline.store.adopt(done.shard)


def _written(done: Done, pipeline: Pipeline, collection: Collection) -> list[Embedded | Skipped]:
    """Upsert the rows that no worker has written, and return what came of all that differ."""
    results = list(done.results if done.written else writer.upsert(done.results, collection))
    return results + list(writer.upsert(_from_store(done.block.known, pipeline), collection))


def _from_store(images: Iterable[ImageFile], pipeline: Pipeline) -> Iterator[Embedded | Skipped]:
    """Give images their stored vectors; embed here those whose vector turns out to be damaged."""
    for record in stage.lookup(images, pipeline.store):
        if isinstance(record, ImageFile):
            yield from pipeline.embed([record])
        else:
            yield record


def _count(done: Done, written: list[Embedded | Skipped], pipeline: Pipeline, pool: ActorPool) -> None:
    """Count a block in the progress, and drop the saved pixels of what is embedded."""
    progress = pipeline.progress
    for part, seconds in done.seconds.items():
        progress.clock.add(part, seconds, pool.at_once[part])
    embedded = [record for record in written if isinstance(record, Embedded)]
    progress.add(Stage.DECODE, sum(isinstance(record, Embedded) for record in done.results))
    progress.add(Stage.EMBEDDING, done.embedded)
    progress.add(Stage.STORE, len(embedded))
    for record in embedded:
        pipeline.preprocessed.remove(record.sha256)


def _judge(order: CatalogOrder, pipeline: Pipeline, difference: CollectionDiff) -> Iterator[Embedded | Skipped]:
    """Compare what is next in catalog order with the collection, as the other engine does; yield what differs."""
    ready = list(order.take())
    results = {image.product.product_id: result for image, result in ready if isinstance(image, ImageFile)}
    for record in difference.changes(pipeline.note_images(image for image, _ in ready)):
        if isinstance(record, Skipped):
            yield record
            continue
        result = results[record.product.product_id]
        assert result is not None, "the worker compared with the same digests"
        yield result
