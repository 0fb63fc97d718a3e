"""What the cache's index says of a catalog's pictures: their states, the worst hosts, and how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.core.records import Reason

if TYPE_CHECKING:
    from ingest.images.cache.index import ImageIndex

TINY = 64
"""Pixels of the shorter side below which a picture is called tiny."""

_TOP = 10
_STATES = """
SELECT CASE WHEN sha256 IS NULL THEN failure
            WHEN failure IS NOT NULL THEN 'not refreshed'
            WHEN source_key IS NULL THEN 'local'
            WHEN tries = 0 THEN 'dropped in'
            ELSE 'fetched' END AS state,
       count(*), coalesce(sum(size), 0)
FROM picture GROUP BY state ORDER BY count(*) DESC, state
"""
_HOSTS = f"""
SELECT host, sum(sha256 IS NULL) AS failed, count(*) FROM picture
WHERE source_key IS NOT NULL GROUP BY host HAVING failed > 0 ORDER BY failed DESC, host LIMIT {_TOP}
"""  # noqa: S608  a constant
_CLASSES = """
SELECT failure FROM picture WHERE source_key IS NOT NULL AND host = ? AND sha256 IS NULL
GROUP BY failure ORDER BY count(*) DESC, failure LIMIT 3
"""
_GROUPS = """
(SELECT count(*) AS products, min(product_id) AS product_id, sha256 FROM picture
 WHERE sha256 IS NOT NULL GROUP BY sha256 HAVING products > 1)
"""
_SHARED = f"SELECT coalesce(sum(products), 0), count(*) FROM {_GROUPS}"  # noqa: S608  a constant
_MOST_SHARED = f"SELECT products, product_id, hex(sha256) FROM {_GROUPS} ORDER BY 1 DESC, 2 LIMIT {_TOP}"  # noqa: S608
_SEEN = f"""
SELECT count(*), coalesce(sum(min(width, height) < {TINY}), 0), coalesce(sum(blank), 0)
FROM picture JOIN content USING (sha256)
"""  # noqa: S608  a constant


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many pictures are in a state, and whether the next run tries them again."""

    name: str
    pictures: int
    bytes: int
    tried_again: bool


@dataclass(frozen=True, slots=True)
class HostFailures:
    """A host with failures: how many of its pictures failed, and the commonest classes."""

    name: str
    failed: int
    pictures: int
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SharedFile:
    """Bytes that several products have for their picture; `product_id` is one of them."""

    products: int
    product_id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class QualityCounts:
    """Of the pictures that the cache knows: how many were looked at, are tiny or blank, and are another's too.

    `sharing` products have `shared` pictures between them; `duplicates` is how many could be left out.
    """

    looked_at: int
    tiny: int
    blank: int
    sharing: int
    shared: int
    duplicates: int
    most_shared: tuple[SharedFile, ...]


def states(index: ImageIndex) -> list[StateCount]:
    """Return the states that pictures are in, the commonest first."""
    reasons = {reason.value: reason for reason in Reason}
    return [
        StateCount(name, count, size, name == "not refreshed" or (name in reasons and _tried_again(reasons[name])))
        for name, count, size in index.select(_STATES)
    ]


def _tried_again(reason: Reason) -> bool:
    return reason.is_transient or reason.depends_on_settings


def worst_hosts(index: ImageIndex) -> list[HostFailures]:
    """Return the ten hosts with most failures."""
    return [
        HostFailures(name, failed, pictures, tuple(failure for (failure,) in index.select(_CLASSES, name)))
        for name, failed, pictures in index.select(_HOSTS)
    ]


def quality(index: ImageIndex) -> QualityCounts:
    """Return how good the pictures are that the cache knows."""
    ((sharing, shared),) = index.select(_SHARED)
    ((looked_at, tiny, blank),) = index.select(_SEEN)
    most = tuple(
        SharedFile(products, product_id, digest.lower()) for products, product_id, digest in index.select(_MOST_SHARED)
    )
    return QualityCounts(looked_at, tiny, blank, sharing, shared, sharing - shared, most)
