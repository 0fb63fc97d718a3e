"""Which tests run on one worker one after the other, and which of these groups go first.

A file is a group, so that what its tests share is made once; those that share more than a file, a Ray cluster or the
service with its browser, are one group. The longest go first, so that the workers end together.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TOGETHER = {
    "integration/test_ray": "a Ray cluster",
    "e2e/test_serve": "the service",
    "browser/": "the service",
    "unit/serve": "the service",
}
"""Groups of more than a file, by how the files' names begin."""
LONGEST = ("a Ray cluster", "faults/test_kill_anywhere.py", "the service")
"""What takes longest, the longest first: `make test` prints what takes how long."""

_FOLDER = Path(__file__).parent


def group_of(path: Path) -> str:
    """Return the group of a file of tests."""
    name = path.relative_to(_FOLDER).as_posix()
    return next((group for beginning, group in TOGETHER.items() if name.startswith(beginning)), name)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist, which reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its group, and bring the longest groups to the front."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of(item.path)))
    places = {group: place for place, group in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(group_of(item.path), len(places)))
