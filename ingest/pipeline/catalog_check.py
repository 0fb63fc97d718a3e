"""The catalog compared with how it was last read, and what in it speaks against deleting rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest.catalog import kept_profiles
from ingest.catalog.profile import PROPERTY, differences, parse_profile
from ingest.milvus import properties
from ingest.runtime.hash_index import ABSENT
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from ingest.catalog.profile import CatalogProfile
    from ingest.milvus.collection import Collection
    from ingest.milvus.connection import Connection
    from ingest.pipeline.pipeline import Pipeline
    from ingest.sync.diff import CollectionDiff

_ACCEPT = "--accept-changed-catalog"


def recall(connection: Connection, *collections: str | None) -> CatalogProfile | None:
    """Return the profile of the catalog that the first of these collections with one was filled from, or None."""
    for name in filter(None, collections):
        profile = parse_profile(properties.get(connection, name).get(PROPERTY, ""))
        if profile is not None:
            return profile
    return None


def weigh(pipeline: Pipeline, difference: CollectionDiff) -> list[str]:
    """Add to the difference what speaks against deleting, and return notes about how the catalog has changed."""
    recorder, accepted = pipeline.recorder, pipeline.settings.accept_changed_catalog
    obstacles = difference.obstacles
    if recorder.cut.count:
        obstacles.append(f"the catalog is cut off ({recorder.cut}); run again when it is complete")
    if difference.unreadable and recorder.swallowing.count:
        obstacles.append(f'rows that may have swallowed others, where a " is missing: {recorder.swallowing}')
    changes = _changes(pipeline)
    if accepted:
        return [f"{changes}; accepted"] if changes else []
    if _is_blocked(pipeline):
        obstacles.append(f"{changes}; if that is right, pass {_ACCEPT}")
    if recorder.has_new_short_rows:
        rows = "1 row has" if recorder.short.count == 1 else f"{recorder.short.count:,} rows have"
        obstacles.append(
            f"{rows} fewer cells than the header ({recorder.short}), as if cut off; if they are right, pass {_ACCEPT}"
        )
    if swallowed := _count_swallowed(pipeline, difference):
        products = "1 product that seems" if swallowed == 1 else f"{swallowed:,} products that seem"
        obstacles.append(
            f'{products} gone may be within other rows, if a " is missing: {recorder.swallowing}; if they are right, '
            f"pass {_ACCEPT}"
        )
    return [changes] if changes else []


def keep(pipeline: Pipeline, collection: Collection, difference: CollectionDiff) -> None:
    """Keep the catalog's profile with the collection and in the data folder, after a run that ended well.

    A profile that blocks deleting is kept only if it was accepted, or if there was nothing to delete: otherwise the
    next run would delete without a word. That of a catalog with unreadable rows is not kept.
    """
    profile = pipeline.recorder.profile
    if profile is None or pipeline.recorder.cut.count or difference.unreadable:
        return
    doubtful = _is_blocked(pipeline) or pipeline.recorder.has_new_short_rows
    if doubtful and not pipeline.settings.accept_changed_catalog and (difference.gone or difference.stale):
        return
    kept_profiles.keep(pipeline.settings, profile)
    name = collection.name
    kept = parse_profile(properties.get(collection.connection, name).get(PROPERTY, ""))
    if not profile.says_same(kept):
        properties.set_properties(collection.connection, name, {PROPERTY: profile.to_json()})


def _changes(pipeline: Pipeline) -> str:
    """Say what changed since the catalog was last read; "" for nothing, or if it was not read to its end."""
    last, now = pipeline.last_profile, pipeline.recorder.profile
    if last is None or now is None or not (found := differences(last, now)):
        return ""
    return f"the catalog has changed since {last.read}: {'; '.join(change.words for change in found)}"


def _is_blocked(pipeline: Pipeline) -> bool:
    now = pipeline.recorder.profile
    return now is not None and any(change.blocks for change in differences(pipeline.last_profile, now))


def _count_swallowed(pipeline: Pipeline, difference: CollectionDiff) -> int:
    """Return how many rows that seem gone have their id in a line inside another row."""
    if not (ids := list(pipeline.recorder.inner)):
        return 0
    places = difference.inventory.find(ids)
    return int(np.count_nonzero(difference.inventory.states[places[places != ABSENT]] == RowState.GONE))
