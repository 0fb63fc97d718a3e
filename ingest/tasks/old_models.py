"""Vectors of models that nothing uses any more: found by looking at every collection, and moved to the trash."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from ingest.core.carried_properties import read_contract
from ingest.core.contract import PROPERTY
from ingest.core.duration import parse_duration
from ingest.core.errors import InterruptedRunError, PruneRefusedError
from ingest.embedding.checkpoint import resolve
from ingest.exports.manifest import read_manifest
from ingest.milvus.connection import connect
from ingest.pipeline.pipeline import Pipeline
from ingest.store import factory, maintenance
from ingest.tasks import store as store_tasks

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress
    from ingest.store.maintenance import SpaceInfo

_TRASH = "trash"


def drop_old_models(
    settings: Settings, progress: Progress, stop: threading.Event, grace: str, also: Sequence[Settings],
    agreed: Callable[[list[SpaceInfo]], bool],
) -> int:  # fmt: skip
    """Move the vectors of unused models that are older than `grace` to the trash; return how many rows.

    A model is used if the settings or those of another catalog name it, if a collection of their Milvus databases was
    built with it (also one that is kept for a rollback), or if the exported files are of it. `agreed` decides about the
    others. What is longer in the trash than `grace`, of whatever model, is deleted. Raises MilvusError if a database
    cannot be looked at, and PruneRefusedError if a collection does not say of which model it is.
    """
    grace_s = parse_duration(grace, "--grace")
    with ExitStack() as stack:
        pipeline = Pipeline(stack, settings, progress, stop)
        used = {pipeline.space.fingerprint, *_used(settings, stop)}
        for each in also:
            used |= {resolve(each.model, each.model_revision).space.fingerprint, *_used(each, stop)}
        unused = [space for space in store_tasks.info(settings) if space.fingerprint not in used]
        if stop.is_set():
            raise InterruptedRunError("interrupted; nothing was dropped")
        if not agreed(unused):
            return 0
        for space in maintenance.spaces(f"{settings.store_place.rstrip('/')}/{_TRASH}", {}):
            trash = factory.open_trash_of(settings, space.fingerprint, space.dim)
            maintenance.empty(trash, maintenance.older(trash, grace_s))
        return sum(_move_to_trash(settings, space, grace_s) for space in unused)


def _used(settings: Settings, stop: threading.Event) -> Iterator[str]:
    """Yield the fingerprints of the models of the collections and of the exported files."""
    with connect(settings.milvus, stop, reading=True) as connection:
        client = connection.client
        for name in connection.call("list the collections", client.list_collections):
            found = connection.call("describe the collection", client.describe_collection, name).get("properties", {})
            if PROPERTY not in found:
                continue  # not built by ingest
            contract = read_contract(found[PROPERTY])
            if not contract:
                raise PruneRefusedError(f"{name}: does not say which model it was built with, so nothing was dropped")
            yield contract["fingerprint"]
    if manifest := read_manifest(settings.npy):
        yield manifest.fingerprint


def _move_to_trash(settings: Settings, space: SpaceInfo, grace_s: float) -> int:
    store = factory.open_store_of(settings, space.fingerprint, space.dim)
    trash = factory.open_trash_of(settings, space.fingerprint, space.dim)
    return maintenance.UnusedVectors(store, (), grace_s).move_to(trash)
