"""Statistics of a catalog's images, from the cache's index: their states, the worst hosts, their quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.core.records import Reason

if TYPE_CHECKING:
    from ingest.images.cache.index import ImageIndex

TINY = 64
"""An image is tiny if its shorter side has fewer pixels."""

_TOP = 10
_STATES = """
SELECT CASE WHEN sha256 IS NULL THEN failure
            WHEN source_key IS NULL THEN 'local'
            WHEN tries = 0 THEN 'dropped in'
            WHEN failure IS NOT NULL THEN 'not refreshed'
            ELSE 'fetched' END AS state,
       count(*), coalesce(sum(CASE WHEN nth = 1 THEN size END), 0)
FROM (SELECT *, CASE WHEN file IS NULL OR tries = 0 THEN 1
                     ELSE row_number() OVER (PARTITION BY source_key, sha256) END AS nth FROM picture)
GROUP BY state ORDER BY count(*) DESC, state
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
_LOOKED_AT = f"""
SELECT count(*), coalesce(sum(min(width, height) < {TINY}), 0), coalesce(sum(blank), 0)
FROM picture JOIN content USING (sha256)
"""  # noqa: S608  a constant


@dataclass(frozen=True, slots=True)
class StateCount:
    """How many images are in a state, and whether the next run tries them again.

    `bytes` counts a download that products share once, as the disk does.
    """

    name: str
    pictures: int
    bytes: int
    tried_again: bool


@dataclass(frozen=True, slots=True)
class HostFailures:
    """A host with failures: how many of its images failed, and the most common reasons."""

    name: str
    failed: int
    pictures: int
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SharedFile:
    """An image that several products share; `product_id` is one of them."""

    products: int
    product_id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class QualityCounts:
    """How many images in the cache were looked at, are tiny, blank, or shared by products.

    `sharing` products share `shared` images, so that `duplicates` of their images are superfluous.
    """

    looked_at: int
    tiny: int
    blank: int
    sharing: int
    shared: int
    duplicates: int
    most_shared: tuple[SharedFile, ...]


def dropped_in(index: ImageIndex) -> int:
    """Return how many images were put into the cache by hand, for products with a URL."""
    return next((state.pictures for state in states(index) if state.name == "dropped in"), 0)


def states(index: ImageIndex) -> list[StateCount]:
    """Return the states that images are in, the most common first."""
    reasons = {reason.value: reason for reason in Reason}
    return [
        StateCount(name, count, size, name == "not refreshed" or (name in reasons and _tried_again(reasons[name])))
        for name, count, size in index.select(_STATES)
    ]


def _tried_again(reason: Reason) -> bool:
    return reason.is_transient or reason.depends_on_settings


def worst_hosts(index: ImageIndex) -> list[HostFailures]:
    """Return the ten hosts with the most failures."""
    return [
        HostFailures(name, failed, pictures, tuple(failure for (failure,) in index.select(_CLASSES, name)))
        for name, failed, pictures in index.select(_HOSTS)
    ]


def quality(index: ImageIndex) -> QualityCounts:
    """Return the quality of the images in the cache."""
    ((sharing, shared),) = index.select(_SHARED)
    ((looked_at, tiny, blank),) = index.select(_LOOKED_AT)
    most = tuple(
        SharedFile(products, product_id, digest.lower()) for products, product_id, digest in index.select(_MOST_SHARED)
    )
    return QualityCounts(looked_at, tiny, blank, sharing, shared, sharing - shared, most)
