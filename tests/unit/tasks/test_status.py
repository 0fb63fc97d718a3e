"""How the images stand, read off the cache's index while a run may go on."""

from __future__ import annotations

import pytest

from ingest.core.errors import ConfigError
from ingest.core.records import Reason
from ingest.images.cache.cache import FOLDER, ImageCache
from ingest.tasks.status import status


def test_what_the_cache_has_written_down_is_told(tmp_path):
    with ImageCache(tmp_path / FOLDER) as cache:
        cache.fail("P1", "https://a.example/1.jpg", Reason.NOT_FOUND, "404", tried=True)
        cache.fail("P2", "https://a.example/2.jpg", Reason.TIMEOUT, "slow", tried=True)
        cache.flush()
        found = status(tmp_path)
    assert sum(state.pictures for state in found.states) == 2
    assert [host.name for host in found.worst_hosts] == ["a.example"]


def test_a_folder_without_a_cache_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no such file; run ingest fetch or ingest run first") as caught:
        status(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
