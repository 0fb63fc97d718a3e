"""Checks that the collection, the alias and the exported files match the catalog and the store."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core import search_ef
from ingest.core.errors import InterruptedRunError
from ingest.core.records import Mismatch
from ingest.images.cache.cache import FOLDER, INDEX
from ingest.images.cache.index import ImageIndex
from ingest.milvus import checks, null_probe, reader
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.milvus.loading import is_loaded
from ingest.pipeline import workspace
from ingest.pipeline.pipeline import Pipeline
from ingest.runtime.lock import lock_folder
from ingest.sync import diff
from ingest.sync.inventory import RowState
from ingest.tasks import verify_files, verify_rows
from ingest.tasks.verdict import Verdict

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable

    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress
    from ingest.sync.inventory import Inventory


def verify(
    settings: Settings, progress: Progress, stop: threading.Event, sample: int, *,
    seed: int | None = None, pictures: bool = False,
) -> Verdict:  # fmt: skip
    """Compare all ids, digests and counts, the fields, and `sample` vectors; nothing is changed.

    Samples are drawn with `seed`, a random one if not given. With `pictures` every image is hashed; otherwise an image
    with the size and time that it had when it was last hashed counts as unchanged.

    Raises MilvusError if the collection cannot be read or has another schema.
    """
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
            _note_ef(verdict, search_ef.read(collection.carried_contract()))
            verdict.differing.extend(checks.index(collection))
            there = reader.inventory(collection, pipeline.store)
            found = reader.read_served(collection, collection.name, there, pipeline.store)
            difference = diff.CollectionDiff(there, pipeline.space.fingerprint, found)
            verdict.differing.extend(verify_rows.check(pipeline, collection, difference, verdict, hashes=pictures))
            sampled = _sample(pipeline, there, sample, verdict)
            verdict.differing.extend(checks.vectors(collection, pipeline.store, sampled))
            if settings.exports:
                verdict.differing.extend(verify_files.check(pipeline, collection, difference, sampled, verdict))
        served = collection.alias_target()
        if served != collection.name:
            verdict.differing.append(
                Mismatch("alias", pipeline.contract.alias, f"serves {served}, not {collection.name}")
            )
        if stop.is_set():
            raise InterruptedRunError("interrupted before everything was checked")
        verdict.seconds = round(progress.seconds, 3)
        return verdict


def forget_images(settings: Settings, product_ids: Iterable[str]) -> None:
    """Make the next run hash the images of these products again, whatever their size and time."""
    with lock_folder(settings.data), closing(ImageIndex(settings.data / FOLDER / INDEX)) as index:
        for product_id in product_ids:
            if (entry := index.get(product_id)) is not None:
                index.put(replace(entry, mtime_ns=None))


def _note_ef(verdict: Verdict, contract: dict[str, Any]) -> None:
    verdict.ef, verdict.ef_schema = contract.get("ef"), contract.get("ef_schema")
    verdict.ef_measured = contract.get("ef_measured")
    if verdict.ef_measured is not None:
        verdict.notes.append(f"apps search with {search_ef.describe(contract)}")


def _sample(pipeline: Pipeline, there: Inventory, sample: int, verdict: Verdict) -> list[str]:
    """Draw a sample of right rows; the vectors of those that the store does not have cannot be compared."""
    right = np.flatnonzero(there.states == RowState.SAME)
    if len(right) > sample:
        right = np.random.default_rng(verdict.seed).choice(right, sample, replace=False)
    verdict.sampled = sum(pipeline.kept.holds([there.sha256(place) for place in right.tolist()]))
    if alone := len(right) - verdict.sampled:
        verdict.notes.append(f"{alone} of the vectors drawn are in the collection alone; ingest run stores them")
    mask = np.zeros(len(there), bool)
    mask[right] = True
    return list(there.where(mask))
