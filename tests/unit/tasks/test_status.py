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


def test_images_put_there_by_hand_are_counted_also_if_their_url_fails_now(tmp_path):
    (tmp_path / FOLDER).mkdir()
    for name in ("P1.jpg", "P2.jpg"):
        (tmp_path / FOLDER / name).write_bytes(b"\xff\xd8\xff\xe0 an image")
    with ImageCache(tmp_path / FOLDER) as cache:
        cache.find("P1", "https://a.example/1.jpg")
        cache.keep(cache.find("P2", "https://a.example/2.jpg"), Reason.NOT_FOUND, "404")
    [state] = status(tmp_path).states
    assert (state.name, state.pictures) == ("dropped in", 2)


def test_a_folder_without_a_cache_is_a_one_line_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file; run ingest fetch or ingest run first") as caught:
        status(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
