"""Which tests run on one worker one after the other, and which of these groups go first.

A file is a group, so that what its tests share is made once; those that share more than a file, a Ray cluster or the
service with its browser, are one group. The longest go first, so that the workers end together.

(pytest-xdist 3.8 has marks for groups, which pytest 9.2 does not let through: tests were handed out one by one.)
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = {
    "integration/on_ray/": "a Ray cluster",
    "e2e/test_serve": "the service",
    "browser/": "the service",
}
"""Groups of more than a file, by how the files' names begin."""
LONGEST = (
    "a Ray cluster",
    "integration/test_against_milvus.py",
    "faults/test_killed_store.py",
    "faults/test_kill_anywhere.py",
    "integration/test_killed_import.py",
    "integration/test_bulk.py",
    "the service",
    "milvus_versions/test_commands.py",
    "unit/test_benchmarks.py",
    "unit/store/test_object_storage.py",
    "faults/test_quota_and_disk.py",
    "faults/test_hostile_text.py",
    "faults/test_killed_fetch.py",
    "faults/test_milvus_outage.py",
    "integration/test_previous_alias.py",
    "e2e/test_run.py",
    "faults/test_writes_denied.py",
    "integration/test_only_looking.py",
    "e2e/test_signals.py",
    "unit/catalog/test_remote.py",
    "e2e/test_what_is_served.py",
    "integration/test_crowds.py",
    "faults/test_dropped_or_taken.py",
    "e2e/test_transcripts.py",
)
"""What takes longest, the longest first: `make test` prints what takes how long."""
SERVERS = {"milvus_uri", "s3_server", "service", "driver", "cluster"}
"""Fixtures of servers and browsers; a test with one of them is marked `server`, and `make test-fast` leaves it out."""


class Groups(LoadScopeScheduling):
    """Hands a whole group to a worker."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """Return the group of a test."""
    name = nodeid.partition("::")[0].removeprefix("tests/")
    return next((group for beginning, group in TOGETHER.items() if name.startswith(beginning)), name)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    """Hand out groups, not single tests."""
    return Groups(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test that needs a server."""
    if SERVERS & set(getattr(item, "fixturenames", ())):
        item.add_marker(pytest.mark.server)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the longest groups to the front."""
    places = {group: place for place, group in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(group_of(item.nodeid), len(places)))
