"""Environment variables for the moment of an import."""

from __future__ import annotations

import os
import threading

import pytest

from ingest.runtime.environment import variables


@pytest.fixture(autouse=True)
def _three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INGEST_TEST_NEW", raising=False)
    monkeypatch.setenv("INGEST_TEST_OWN", "mine")
    monkeypatch.setenv("INGEST_TEST_BAD", "bad")


def test_they_are_set_for_the_block_alone_and_the_users_own_stay():
    before = dict(os.environ)
    with variables({"INGEST_TEST_NEW": "ours", "INGEST_TEST_OWN": "ours"}, without="INGEST_TEST_BAD"):
        assert os.environ["INGEST_TEST_NEW"] == "ours"
        assert os.environ["INGEST_TEST_OWN"] == "mine"
        assert "INGEST_TEST_BAD" not in os.environ
    assert dict(os.environ) == before


def test_they_are_as_they_were_after_an_error_and_after_blocks_in_several_threads():
    before = dict(os.environ)
    inside = []

    def enter() -> None:
        with pytest.raises(ImportError), variables({"INGEST_TEST_NEW": "ours"}, without="INGEST_TEST_BAD"):
            inside.append(os.environ.get("INGEST_TEST_NEW"))
            raise ImportError

    threads = [threading.Thread(target=enter) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, dict(os.environ)) == (["ours"] * 20, before)
