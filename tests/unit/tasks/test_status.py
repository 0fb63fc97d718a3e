"""The states of the images are read from the cache's index, also during a run."""

from __future__ import annotations

import pytest

from ingest.core.errors import ConfigError
from ingest.core.records import Reason
from ingest.images.cache.cache import FOLDER, ImageCache
from ingest.tasks.status import status


def test_states_and_worst_hosts_come_from_the_cache(tmp_path):
    with ImageCache(tmp_path / FOLDER) as cache:
        cache.fail("P1", "https://a.example/1.jpg", Reason.NOT_FOUND, "404", tried=True)
        cache.fail("P2", "https://a.example/2.jpg", Reason.TIMEOUT, "slow", tried=True)
        cache.flush()
        found = status(tmp_path)
    assert sum(state.pictures for state in found.states) == 2
    assert [host.name for host in found.worst_hosts] == ["a.example"]


def test_a_folder_without_a_cache_is_a_one_line_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file; run ingest fetch or ingest run first") as caught:
        status(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
