"""The trace of a run: what Chrome and Perfetto take, whatever the threads do."""

from __future__ import annotations

import json
import threading
import time

import pytest

from ingest.core.errors import ConfigError
from ingest.runtime.profiler import StageProfiler
from ingest.runtime.trace import Trace


def events(path) -> list[dict]:
    found = json.loads(path.read_text(encoding="utf-8"))
    for event in found:
        assert {"name", "ph", "pid", "tid"} <= set(event)
        assert event["ph"] in ("M", "X")
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] > 0
    return found


def drawn(path) -> list[tuple[str, float]]:
    return [(event["name"], event["dur"]) for event in events(path) if event["ph"] == "X"]


def rows(path) -> dict[int, str]:
    return {event["tid"]: event["args"]["name"] for event in events(path) if event["name"] == "thread_name"}


def test_work_is_an_event_in_a_row_named_by_its_part(tmp_path):
    path = tmp_path / "trace.json"
    with Trace(path) as trace:
        start = time.perf_counter()
        trace.add(0, "embedding", start, start + 0.5)
        trace.add(1, "decode", start, start + 0.25, "P1")
        trace.add(2, "decode", start, start + 0.125, 'P"2"\n')
    found = events(path)
    assert rows(path) == {1: "embedding", 2: "decode", 3: "decode 2"}
    assert [(event["name"], event["dur"], event["args"]) for event in found if event["ph"] == "X"] == [
        ("decode", 250_000.0, {"product": "P1"}),
        ("decode", 125_000.0, {"product": 'P"2"\n'}),
        ("embedding", 500_000.0, {}),
    ]
    order = {event["tid"]: event["args"]["sort_index"] for event in found if event["name"] == "thread_sort_index"}
    assert order[2] < order[3] < order[1], "the line's order"


def test_short_pieces_one_after_another_are_one_event_and_a_lone_one_is_none(tmp_path):
    path = tmp_path / "trace.json"
    with Trace(path) as trace:
        start = time.perf_counter()
        for row in range(1000):
            trace.add(0, "catalog", start + row * 20e-6, start + row * 20e-6 + 15e-6)
        trace.add(0, "catalog", start + 1, start + 1 + 15e-6)
        trace.add(0, "catalog", start + 2, start + 3)
    assert [(name, round(dur, -3)) for name, dur in drawn(path)] == [("catalog", 20_000), ("catalog", 1_000_000)]


def test_pictures_are_never_drawn_as_one(tmp_path):
    path = tmp_path / "trace.json"
    with Trace(path) as trace:
        start = time.perf_counter()
        trace.add(0, "decode", start, start + 0.001, "P1")
        trace.add(0, "decode", start + 0.001, start + 0.002, "P2")
    assert len(drawn(path)) == 2


def test_threads_draw_at_once_and_the_file_stays_whole(tmp_path):
    path = tmp_path / "trace.json"

    def work() -> None:
        for number in range(200):
            call(number)

    with Trace(path) as trace:
        call = StageProfiler(trace).timed("decode", lambda _: time.sleep(0.0002), int, str)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(drawn(path)) == 1600
    assert sorted(rows(path).values()) == ["decode", *(f"decode {number}" for number in range(2, 9))]


def test_a_thread_that_outlives_the_run_is_not_heard(tmp_path):
    path = tmp_path / "trace.json"
    with Trace(path) as trace:
        pass
    trace.add(0, "store", 0.0, 1.0)
    assert drawn(path) == []


def test_an_error_in_the_block_leaves_a_whole_file(tmp_path):
    path = tmp_path / "trace.json"
    with pytest.raises(RuntimeError), Trace(path) as trace:
        start = time.perf_counter()
        trace.add(0, "store", start, start + 1)
        raise RuntimeError
    assert drawn(path) == [("store", 1_000_000.0)]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be written .*--profile") as caught:
        Trace(tmp_path / "none" / "trace.json")
    assert len(str(caught.value).splitlines()) == 1
