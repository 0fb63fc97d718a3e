"""The model loads while the first images are read, and only if one of them will be embedded."""

from __future__ import annotations

import threading

import pytest
from support.fake_encoder import FakeEncoder
from support.small_shop import FIVE, SmallShop

from ingest.core.errors import ModelError
from ingest.pipeline.early_load import EarlyLoad
from ingest.runtime.profiler import StageProfiler


def test_it_is_loaded_once_whoever_asks():
    loaded, may = [], threading.Event()

    def load():
        may.wait(10)
        loaded.append(threading.current_thread().name)

    early = EarlyLoad(load, StageProfiler())
    early.join()
    threads = [threading.Thread(target=early.start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [], "nobody waits for it"
    may.set()
    early.join()
    assert loaded == ["model"]


def test_an_error_is_left_to_who_needs_the_model():
    def load():
        raise ModelError("no such model")

    early = EarlyLoad(load, StageProfiler())
    early.start()
    early.join()


@pytest.fixture
def sized(monkeypatch):
    """Return the names of the threads that have asked the encoder for its size."""
    names = []
    size = FakeEncoder.size
    monkeypatch.setattr(
        FakeEncoder, "size", lambda encoder: names.append(threading.current_thread().name) or size(encoder)
    )
    return names


def test_a_run_loads_early_and_a_run_with_nothing_to_embed_never(tmp_path, sized):
    shop = SmallShop(tmp_path, str(tmp_path / "milvus.db"))
    shop.stock(FIVE)
    shop.run()
    assert "model" in sized
    sized.clear()
    assert shop.run().summary.unchanged == 5
    shop.stock({name: (number, "renamed") for name, (number, _) in FIVE.items()})
    assert shop.run().summary.upserted == 5
    shop.plan()
    assert sized == []


def test_a_plan_of_new_images_loads_nothing(tmp_path, sized):
    shop = SmallShop(tmp_path, str(tmp_path / "milvus.db"))
    shop.stock(FIVE)
    shop.plan()
    assert sized == []
