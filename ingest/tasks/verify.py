"""Checks that the collection, the alias and the exported files match the catalog and the store."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core import carried_properties, search_ef
from ingest.core.contract import previous_alias
from ingest.core.errors import InterruptedRunError
from ingest.core.records import Mismatch
from ingest.images.cache import statistics
from ingest.images.cache.cache import FOLDER, INDEX
from ingest.images.cache.index import ImageIndex
from ingest.milvus import checks, null_probe, reader
from ingest.milvus.alias import alias_target
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.milvus.loading import is_loaded
from ingest.pipeline import catalog_check, refill, workspace
from ingest.pipeline.pipeline import Pipeline
from ingest.runtime.lock import lock_folder
from ingest.sync import diff
from ingest.sync.row_state import RowState
from ingest.tasks import verify_embeddings, verify_files, verify_rows
from ingest.tasks.verdict import Verdict

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress
    from ingest.sync.inventory import Inventory


def verify(
    settings: Settings, progress: Progress, stop: threading.Event, sample: int, *,
    seed: int | None = None, pictures: bool = False, embed: int = 0,
) -> Verdict:  # fmt: skip
    """Compare all ids, digests and counts, the fields, and `sample` vectors; nothing is changed.

    Samples are drawn with `seed`, a random one if not given. With `pictures` every image is hashed; otherwise an image
    with the size and time that it had when it was last hashed counts as unchanged. So many images as `embed` says are
    embedded again. The Parquet file is checked if it is wanted or there.

    Raises MilvusError if the collection cannot be read or has another schema.
    """
    settings = with_existing_parquet(settings)
    with ExitStack() as stack:
        pipeline = Pipeline(stack, settings, progress, stop, workspace.open_read_only)
        connection = stack.enter_context(connect(settings.milvus, stop, reading=True))
        collection = Collection(
            connection, null_probe.recall(connection, pipeline.contract, pipeline.space).contract, pipeline.space
        )
        verdict = Verdict(collection.name, seed=secrets.randbelow(2**32) if seed is None else seed)
        if not collection.ready():
            verdict.differing.append(Mismatch("collection", collection.name, "is missing"))
        elif not is_loaded(connection, collection.name):
            verdict.differing.append(Mismatch("collection", collection.name, "is not loaded, so nobody can search it"))
        else:
            pipeline.read_as(catalog_check.recall(connection, collection.name))
            _note_ef(verdict, carried_properties.read_contract(collection.carried_contract()))
            verdict.differing.extend(checks.index(collection))
            inventory = reader.read_inventory(collection, pipeline.store)
            found = reader.read_served(collection, collection.name, inventory)
            difference = diff.CollectionDiff(inventory, pipeline.space.fingerprint, found)
            verdict.differing.extend(verify_rows.check(pipeline, collection, difference, verdict, hashes=pictures))
            for product_id in refill.read_back(pipeline, collection, difference):
                detail = "has no sound vector, or another one than the store has of its image"
                verdict.differing.append(Mismatch("vector", product_id, detail))
            if embed:
                verdict.differing.extend(verify_embeddings.check(pipeline, collection, inventory, embed, verdict))
            sampled = _sample(pipeline, inventory, sample, verdict)
            verdict.differing.extend(checks.vectors(collection, pipeline.store, sampled))
            _note_dropped_in(verdict, statistics.dropped_in(pipeline.cache.index))
            if settings.exports:
                verdict.differing.extend(verify_files.check(pipeline, collection, difference, sampled, verdict))
        served = collection.alias_target()
        if served != collection.name:
            verdict.differing.append(
                Mismatch("alias", pipeline.contract.alias, f"serves {served}, not {collection.name}")
            )
        verdict.previous = alias_target(connection, previous_alias(pipeline.contract.alias))
        if verdict.previous is not None:
            name = previous_alias(pipeline.contract.alias)
            verdict.notes.append(f"the alias {name} points to {verdict.previous}")
        if stop.is_set():
            raise InterruptedRunError("interrupted before everything was checked")
        verdict.seconds = round(progress.seconds, 3)
        return verdict


def with_existing_parquet(settings: Settings) -> Settings:
    """Return the settings with the Parquet file wanted if there is one, though runs may no longer write it."""
    return replace(settings, parquet=settings.parquet or settings.parquet_file.exists())


def forget_images(settings: Settings, product_ids: Iterable[str]) -> None:
    """Make the next run hash the images of these products again, whatever their size and time."""
    with lock_folder(settings.data), closing(ImageIndex(settings.data / FOLDER / INDEX)) as index:
        for product_id in product_ids:
            if (entry := index.get(product_id)) is not None:
                index.put(replace(entry, mtime_ns=None))


def _note_dropped_in(verdict: Verdict, images: int) -> None:
    if images:
        what = "1 image was" if images == 1 else f"{images:,} images were"
        verdict.notes.append(f"{what} put into the cache by hand; ingest run --refresh compares with the URLs")


def _note_ef(verdict: Verdict, contract: dict[str, Any]) -> None:
    verdict.ef, verdict.ef_schema = contract.get("ef"), contract.get("ef_schema")
    verdict.ef_measured = contract.get("ef_measured")
    if verdict.ef_measured is not None:
        verdict.notes.append(f"apps search with {search_ef.describe(contract)}")


def _sample(pipeline: Pipeline, inventory: Inventory, sample: int, verdict: Verdict) -> list[str]:
    """Draw a sample of right rows; the vectors of those that the store does not have cannot be compared."""
    right = np.flatnonzero(inventory.states == RowState.SAME)
    if len(right) > sample:
        right = np.random.default_rng(verdict.seed).choice(right, sample, replace=False)
    verdict.sampled = sum(pipeline.kept.holds([inventory.sha256(place) for place in right.tolist()]))
    if alone := len(right) - verdict.sampled:
        verdict.notes.append(f"{alone} of the vectors drawn are in the collection alone; ingest run stores them")
    mask = np.zeros(len(inventory), bool)
    mask[right] = True
    return list(inventory.where(mask))
