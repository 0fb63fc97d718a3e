"""Whose time it is: each moment of a thread belongs to one part, the innermost that was entered."""

from __future__ import annotations

import threading

import pytest

from ingest.runtime import profiler as module
from ingest.runtime.profiler import BusyShare, StageProfiler, busiest


class Time:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch) -> Time:
    made = Time()
    monkeypatch.setattr(module, "time", made)
    return made


def given(time: Time, seconds: float, items: list[int]):
    for item in items:
        time.now += seconds
        yield item


def busy(clock: StageProfiler) -> dict[str, float]:
    return {part: round(share.busy, 6) for part, share in clock.shares().items()}


def test_a_block_is_work_of_its_part(time):
    clock = StageProfiler()
    with clock.working("milvus"):
        time.now += 3
    time.now += 1
    assert clock.shares() == {"milvus": BusyShare(0.75, 1)}


def test_time_belongs_to_the_innermost_part_and_waiting_to_none(time):
    clock = StageProfiler()
    read = clock.within("catalog", given(time, 1, [1, 2]))
    stored = clock.within("store", (item for item in given_after(time, 2, clock.waiting(given_after(time, 5, read)))))
    assert list(stored) == [1, 2]
    assert busy(clock) == {"catalog": round(2 / 16, 6), "store": round(4 / 16, 6)}


def given_after(time: Time, seconds: float, items):
    for item in items:
        time.now += seconds
        yield item


def test_what_the_consumer_does_with_an_item_is_not_the_parts_work(time):
    clock = StageProfiler()
    for _ in clock.within("catalog", given(time, 1, [1, 2])):
        time.now += 3
    assert busy(clock) == {"catalog": 0.25}


def test_an_error_and_a_consumer_that_stops_leave_nothing_running(time):
    clock = StageProfiler()

    def broken():
        yield 1
        time.now += 1
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        list(clock.within("catalog", broken()))
    for _ in clock.within("images", given(time, 1, [1, 2])):
        break
    time.now += 2
    assert busy(clock) == {"catalog": 0.25, "images": 0.25}


def test_a_consumer_that_stops_closes_what_it_was_given():
    ended = []

    def source():
        try:
            yield 1
            yield 2
        finally:
            ended.append(True)

    items = StageProfiler().within("catalog", source())
    next(items)
    items.close()
    assert ended == [True]


def test_workers_that_take_turns_are_as_busy_as_their_mean(time):
    clock = StageProfiler()
    for seconds in (4, 2):

        def work(_: object, seconds: int = seconds) -> None:
            time.now += seconds

        call = clock.timed("decode", work, int, str)
        thread = threading.Thread(target=call, args=(1,))
        thread.start()
        thread.join()
    time.now += 4
    assert clock.shares() == {"decode": BusyShare(0.3, 2)}


def test_a_part_on_several_threads_is_as_busy_as_the_busiest(time):
    clock = StageProfiler()
    for seconds in (4, 2):
        thread = threading.Thread(target=lambda s=seconds: list(clock.within("store", given(time, s, [1]))))
        thread.start()
        thread.join()
    time.now += 2
    assert clock.shares() == {"store": BusyShare(0.5, 2)}


def test_only_calls_with_what_a_function_works_on_count(time):
    clock = StageProfiler()

    def work(item: object) -> object:
        time.now += 1
        return item

    call = clock.timed("decode", work, int, str)
    assert [call("passes"), call(1)] == ["passes", 1]
    assert busy(clock) == {"decode": 0.5}


def test_work_that_goes_on_counts_already(time):
    clock = StageProfiler()
    with clock.working("embedding"):
        time.now += 5
        assert busy(clock) == {"embedding": 1.0}


def test_the_busiest_part_bounds_a_run():
    assert busiest({}) is None
    assert (
        busiest({"store": BusyShare(0.2, 1), "embedding": BusyShare(0.9, 1), "images": BusyShare(0.8, 32)})
        == "embedding"
    )


def test_work_done_elsewhere_counts_for_all_who_can_do_it_at_once(time):
    clock = StageProfiler()
    time.now += 10
    clock.add("embedding", 6, 2)
    clock.add("embedding", 6, 2)
    clock.add("upserting", 30, 1)
    assert clock.shares() == {"embedding": BusyShare(0.6, 2), "upserting": BusyShare(1.0, 1)}
    assert busiest(clock.shares()) == "upserting"
