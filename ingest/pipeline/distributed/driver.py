"""The stretch from products to rows, on a Ray cluster: what `run.run` does between planning and reporting.

The driver reads the catalog, judges and counts what comes back in the catalog's order, and owns the picture cache's
index; workers fetch, decode, embed, write shards and upsert.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.core.contract import row_digest
from ingest.core.records import Decoded, Embedded, ImageFile, Product, Skipped, Stage
from ingest.images.resolver import is_text
from ingest.milvus import writer
from ingest.pipeline.distributed import cluster
from ingest.pipeline.distributed.blocks import BlockItem, InOrder
from ingest.pipeline.distributed.workers import Job, load_clip
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.remote_files import is_remote
from ingest.store import factory, stage
from ingest.sync.inventory import RowState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ingest.embedding.encoder import Encoder
    from ingest.milvus.collection import Collection
    from ingest.pipeline.distributed.blocks import Block, Done
    from ingest.pipeline.pipeline import Pipeline
    from ingest.sync.diff import CollectionDiff

_BLOCK = 256  # products, or the batch where that is more; full batches of one size give the same bits everywhere


def write_rows(
    pipeline: Pipeline,
    collection: Collection,
    difference: CollectionDiff,
    encoder: Callable[[Job], Encoder] = load_clip,
) -> Iterator[Embedded | Skipped]:
    """Bring the collection's rows in step, on the cluster; yield in catalog order what `writer.upsert` would yield.

    Rows that a worker has written come without their vectors. Raises EngineError beside what the line raises.
    """
    settings = pipeline.settings
    pool = cluster.ActorPool.of(settings)
    job = _job(pipeline, collection, encoder)
    order = InOrder()
    blocks = _blocks(pipeline, difference, order)
    upserting = not collection.connection.is_lite  # Milvus Lite is a file, and this process holds it
    with cluster.connect(settings.address):
        known = pipeline.store.sorted_keys()
        for done in cluster.run_blocks(blocks, job, known, pool, pipeline.stop, upserting=upserting):
            order.put(done.places, done.pictures, _taken_in(done, pipeline, collection))
            yield from _settled(order, pipeline, difference)
    if not pipeline.stop.is_set():
        yield from _settled(order, pipeline, difference)


def _job(pipeline: Pipeline, collection: Collection, encoder: Callable[[Job], Encoder]) -> Job:
    """Return what the workers must know, with no path that depends on where a process stands."""
    settings, checkpoint = pipeline.settings, pipeline.checkpoint
    found = ((name, getattr(settings, name)) for name in ("catalog", "data", "images_root", "host_headers"))
    paths: dict[str, Any] = {name: value.absolute() for name, value in found if isinstance(value, Path)}
    store = settings.store
    if store and not is_remote(store, "--store"):
        store = str(Path(store).absolute())
    settings = replace(settings, **paths, store=store)
    if Path(checkpoint.location).is_dir():
        checkpoint = replace(checkpoint, location=str(Path(checkpoint.location).absolute()))
    return Job(
        settings, collection.contract, checkpoint, factory.store_location(settings, pipeline.space.fingerprint), encoder
    )


def _blocks(pipeline: Pipeline, difference: CollectionDiff, order: InOrder) -> Iterator[Block]:
    """Gather products into blocks: those whose row seems right apart, so that the others fill whole batches."""
    batch = pipeline.settings.batch or _BLOCK
    size = max(_BLOCK // batch, 1) * batch
    gathered: dict[bool, list[BlockItem]] = {True: [], False: []}
    for place, record in enumerate(pipeline.products()):
        if isinstance(record, Skipped):
            order.put([place], [record], {})
            continue
        item = _item(place, record, pipeline, difference)
        entry = item.entry
        seems_right = (
            entry is not None
            and entry.sha256 is not None
            and item.digest == row_digest(record, entry.sha256, pipeline.space.fingerprint)
        )
        block = gathered[seems_right]
        block.append(item)
        if len(block) == size:
            yield tuple(block)
            block.clear()
    yield from (tuple(block) for block in gathered.values() if block)


def _item(place: int, product: Product, pipeline: Pipeline, difference: CollectionDiff) -> BlockItem:
    there = difference.there
    at = int(there.find([product.product_id])[0])
    entry = pipeline.cache.get(product.product_id) if is_text(product.product_id) else None
    if at == ABSENT:
        return BlockItem(place, product, None, "", entry)
    digest = "" if there.states[at] == RowState.FOREIGN else there.digest(at)
    return BlockItem(place, product, digest, there.sha256(at).hex(), entry)


def _taken_in(done: Done, pipeline: Pipeline, collection: Collection) -> dict[str, Embedded | ImageFile | Skipped]:
    """Take in what a block brings: what the cache and the store have learnt, and rows that are still to be written."""
    for entry in done.entries:
        pipeline.cache.index.put(entry)
    for sha256, content in done.contents:
        pipeline.cache.index.put_content(sha256, content)
    if done.shard:
        pipeline.store.adopt(done.shard)
    pipeline.progress.add(Stage.DECODE, sum(isinstance(record, Embedded) for record in done.results))
    pipeline.progress.add(Stage.EMBEDDING, done.embedded)
    results: list[Embedded | Skipped] = list(done.results)
    if not done.written:
        results = list(writer.upsert(results, collection))
    results += writer.upsert(_from_store(done.known, pipeline), collection)
    pipeline.progress.add(Stage.STORE, sum(isinstance(record, Embedded) for record in results))
    for record in results:
        if isinstance(record, Embedded):
            pipeline.preprocessed.remove(record.sha256)
    return {record.product.product_id if isinstance(record, Embedded) else record.product_id: record
            for record in results}  # fmt: skip


def _from_store(pictures: Iterable[ImageFile], pipeline: Pipeline) -> Iterator[Embedded | Skipped]:
    """Give pictures the vectors that the store has; one that turns out to be damaged is embedded here."""
    for record in stage.lookup(pictures, pipeline.store):
        if isinstance(record, ImageFile):
            yield from pipeline.embedded([record])
        else:
            yield record


def _settled(order: InOrder, pipeline: Pipeline, difference: CollectionDiff) -> Iterator[Embedded | Skipped]:
    """Judge what is due as the one-machine line judges it, and yield what became of each that differs."""
    due = list(order.due())
    results = {picture.product.product_id: result for picture, result in due if isinstance(picture, ImageFile)}
    for record in difference.changes(pipeline.noted(picture for picture, _ in due)):
        if isinstance(record, Skipped):
            yield record
            continue
        result = results[record.product.product_id]
        assert not isinstance(result, Decoded | ImageFile)
        assert result is not None, "the worker judged by the same digests"
        yield result
