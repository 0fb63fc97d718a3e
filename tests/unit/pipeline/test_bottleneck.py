"""What limited a run, and hints that are only given if they would help."""

from __future__ import annotations

import os

import pytest

from ingest.core.records import Stage
from ingest.core.settings import Settings
from ingest.pipeline.bottleneck import find_bottleneck
from ingest.runtime.profiler import EXPORTS, MODEL, BusyShare

SERVER = "http://localhost:19530"
CORES = os.cpu_count() or 1


def bottleneck(
    part: str, settings: Settings, device: str = "cpu", busy: float = 0.97, threads: int = 1
) -> tuple[str, str]:
    shares = {Stage.CATALOG: BusyShare(0.01, 1), part: BusyShare(busy, threads)}
    found = find_bottleneck(shares, settings, device)
    assert found is not None
    assert (found.part, found.busy) == (part, busy)
    return str(found), found.hint


def test_without_measurements_there_is_no_bottleneck():
    assert find_bottleneck({}, Settings(), "") is None


@pytest.mark.parametrize(
    ("part", "settings", "device", "words", "hint"),
    [
        (Stage.EMBEDDING, Settings(), "cpu", "embedding (device 97 % busy)", "use a GPU"),
        (Stage.EMBEDDING, Settings(batch_size=32), "cuda", "embedding (device 97 % busy)", "raise --batch-size"),
        (Stage.EMBEDDING, Settings(), "cuda", "embedding (device 97 % busy)", ""),
        (Stage.EMBEDDING, Settings(batch_size=512), "cuda", "embedding (device 97 % busy)", ""),
        (Stage.DECODE, Settings(), "cuda", "decode (workers 97 % busy)", ""),
        (Stage.DECODE, Settings(decode_workers=CORES), "cuda", "decode (workers 97 % busy)", ""),
        (Stage.STORE, Settings(batch_size=32), "cuda", "store (97 % busy)", ""),
        (Stage.STORE, Settings(batch_size=256), "cuda", "store (97 % busy)", ""),
        (Stage.MILVUS, Settings(uri=SERVER), "", "milvus (97 % busy)", ""),
        (Stage.MILVUS, Settings(), "", "milvus (97 % busy)", "use a Milvus server, which is faster than Milvus Lite"),
        (Stage.CATALOG, Settings(), "", "catalog (97 % busy)", ""),
        (MODEL, Settings(), "cpu", "model load (97 % busy)", ""),
        (Stage.EMBEDDING, Settings(engine="ray"), "", "embedding (device 97 % busy)", "raise --actors, or add nodes"),
        (Stage.IMAGES, Settings(engine="ray"), "", "images (workers 97 % busy)", "add nodes"),
        (Stage.MILVUS, Settings(engine="ray", uri=SERVER), "", "milvus (97 % busy)", "raise --upsert-parallelism"),
        (Stage.CATALOG, Settings(engine="ray"), "", "catalog (97 % busy)", ""),
    ],
)
def test_the_busiest_part_is_named_with_a_hint_if_there_is_one(part, settings, device, words, hint):
    assert bottleneck(part, settings, device) == (words, hint)


@pytest.mark.skipif(CORES == 1, reason="one core has no use for two workers")
def test_more_decode_workers_are_advised_if_there_are_more_cores():
    assert bottleneck(Stage.DECODE, Settings(decode_workers=CORES - 1))[1] == "raise --decode-workers"


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        (Settings(device="cpu"), "pass --decode-in processes"),
        (Settings(device="cpu", decode_workers=16, decode_in="threads"), "pass --decode-in processes"),
        (Settings(device="cpu", decode_workers=4), "raise --decode-workers"),
        (Settings(device="cuda"), ""),
        (Settings(device="cpu", decode_in="processes"), ""),
    ],
)
def test_processes_are_advised_where_many_threads_decode(monkeypatch, settings, hint):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert bottleneck(Stage.DECODE, settings)[1] == hint


def test_slow_exports_can_be_left_out():
    assert "--no-exports" in bottleneck(EXPORTS, Settings())[1]


@pytest.mark.parametrize(
    ("download", "threads", "hint"),
    [
        (True, 32, "raise --download-workers"),
        (True, 8, "raise --download-per-host, if the hosts allow it"),
        (False, 32, ""),
    ],
)
def test_the_limit_that_held_back_downloads_is_named(download, threads, hint):
    settings = Settings(download_missing=download)
    assert bottleneck(Stage.IMAGES, settings, threads=threads) == ("images (workers 97 % busy)", hint)


def test_a_part_that_is_busy_half_of_the_time_gets_no_hint():
    assert bottleneck(Stage.EMBEDDING, Settings(), busy=0.5) == ("embedding (device 50 % busy)", "")
