"""A bucket for the tests of every folder: an S3 server of a module's own, and waits between tries that take no time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ingest.runtime import remote_files as storages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.object_storage import Storage

IGNORED = [
    # botocore and moto's server ask for today's time without a zone
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
    # a request that was cut off leaves its connection to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
"""The marks of a module that asks the bucket."""


@pytest.fixture(scope="module")
def s3_server() -> Iterator[Storage]:
    from support.object_storage import object_storage  # moto, which most tests need not wait for

    with object_storage() as running:
        yield running


@pytest.fixture
def storage(s3_server: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """Return the server as it is when nothing has failed yet."""
    monkeypatch.setattr(storages, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(storages, "_LONGEST_PAUSE_S", 0.02)
    s3_server.faults.clear()
    s3_server.requests.clear()
    yield s3_server
    s3_server.faults.clear()
