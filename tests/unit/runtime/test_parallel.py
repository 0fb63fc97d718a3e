"""The concurrency: order, bounds, errors at their place, and nothing left running."""

from __future__ import annotations

import contextlib
import threading
import time
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.runtime.parallel import batched, batched_within, parallel_map, parallel_map_by_key, prefetch, take_until

PATIENCE_S = 10  # only a failing test waits this long


class Source:
    """A generator's life, observable: how much was taken, when, and whether it was closed."""

    def __init__(self, count: int, fails_at: int | None = None) -> None:
        self.count, self.fails_at = count, fails_at
        self.taken = 0
        self.reached = threading.Condition()
        self.closed = threading.Event()

    def __iter__(self):
        try:
            for number in range(self.count):
                if number == self.fails_at:
                    raise OSError("the source broke")
                with self.reached:
                    self.taken += 1
                    self.reached.notify_all()
                yield number
        finally:
            self.closed.set()

    def wait_for(self, count: int) -> bool:
        with self.reached:
            return self.reached.wait_for(lambda: self.taken >= count, PATIENCE_S)


def double(number: int) -> int:
    return 2 * number


@pytest.fixture(autouse=True)
def no_threads_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@given(st.lists(st.integers()), st.integers(1, 10))
def test_batches_keep_every_item_in_order_and_only_the_last_is_short(items, size):
    batches = list(batched(items, size))
    assert [item for batch in batches for item in batch] == items
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(1 <= len(batch) <= size for batch in batches[-1:])


def test_a_batch_is_given_before_the_next_item_is_asked_for():
    source = Source(10)
    next(batched(iter(source), 3))
    assert source.taken == 3


@given(st.lists(st.integers(), max_size=30), st.integers(1, 4), st.integers(1, 8))
def test_pmap_is_map(items, workers, window):
    assert list(parallel_map(double, items, workers=workers, ahead=window)) == [double(item) for item in items]


def test_pmap_keeps_order_when_a_later_call_ends_first():
    second_done = threading.Event()

    def late_first(number: int) -> int:
        if number == 0:
            assert second_done.wait(PATIENCE_S)
        else:
            second_done.set()
        return number

    assert list(parallel_map(late_first, range(4), workers=2, ahead=4)) == [0, 1, 2, 3]


def test_pmap_works_on_as_many_threads_as_it_was_given():
    together = threading.Barrier(3, timeout=PATIENCE_S)
    assert list(parallel_map(lambda _: together.wait() >= 0, range(6), workers=3, ahead=6)) == [True] * 6


def test_pmap_never_starts_more_than_ahead_beyond_its_consumer():
    source, window = Source(100), 5
    results = parallel_map(double, iter(source), workers=2, ahead=window)
    for consumed, _ in enumerate(results, 1):
        assert source.taken < consumed + window


@pytest.mark.parametrize("window", [1, 3, 50])
def test_pmap_raises_what_the_function_raised_at_its_place(window):
    def broken(number: int) -> int:
        if number == 5:
            raise ZeroDivisionError
        return number

    results = parallel_map(broken, range(20), workers=4, ahead=window)
    assert list(islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("window", [1, 3, 50])
def test_pmap_raises_what_the_source_raised_after_the_results_before_it(window):
    results = parallel_map(double, iter(Source(20, fails_at=5)), workers=4, ahead=window)
    assert list(islice(results, 5)) == [0, 2, 4, 6, 8]
    with pytest.raises(OSError, match="the source broke"):
        next(results)


def test_a_consumer_of_pmap_that_stops_cancels_what_has_not_begun_and_closes_the_source():
    source = Source(100)
    items = iter(source)  # held here, as a caller's variable would
    begun, go_on, called = threading.Event(), threading.Event(), []

    def slow(number: int) -> int:
        called.append(number)
        if number == 2:
            begun.set()
            assert go_on.wait(PATIENCE_S)
        elif number:
            time.sleep(0.05)  # so that others wait behind it
        return number

    results = parallel_map(slow, items, workers=1, ahead=10)
    assert [next(results), next(results)] == [0, 1]
    assert begun.wait(PATIENCE_S)
    stopper = threading.Thread(target=results.close)
    stopper.start()
    go_on.set()
    stopper.join(PATIENCE_S)
    assert not stopper.is_alive()
    assert called == [0, 1, 2]
    assert source.closed.is_set()
    assert next(items, None) is None


def test_heavy_items_come_in_short_lists():
    items = [1, 9, 1, 1, 20, 30, 2, 2, 2, 2, 2]
    lists = list(batched_within(items, 4, 99, weight=lambda item: item, most=10))
    assert lists == [[1, 9], [1, 1, 20], [30], [2, 2, 2, 2], [2]]


@given(st.lists(st.integers(), max_size=30), st.integers(1, 8))
@settings(deadline=None)
def test_ahead_changes_nothing_but_the_thread(items, size):
    assert list(prefetch(items, size)) == items


def test_ahead_runs_its_source_before_it_is_asked_but_never_further_than_size():
    source, size = Source(100), 4
    items = prefetch(iter(source), size)
    for consumed in range(1, 20):
        next(items)
        # The queue's `size`, and the one in the producer's hand that waits for room.
        assert source.wait_for(consumed + size + 1)
        assert source.taken <= consumed + size + 1
    items.close()


def test_ahead_hands_many_over_together_and_stays_within_its_bound():
    source, size = Source(5000), 256
    items = prefetch(iter(source), size)
    for consumed in range(1, 1000):
        next(items)
        assert source.taken <= consumed + size * 5 / 4 + 2
    items.close()


def test_ahead_raises_what_the_source_raised_at_its_place():
    items = prefetch(iter(Source(20, fails_at=3)), 10)
    assert list(islice(items, 3)) == [0, 1, 2]
    with pytest.raises(OSError, match="the source broke"):
        next(items)


def test_a_consumer_of_ahead_that_stops_frees_a_producer_that_waits_for_room():
    source = Source(100)
    held = iter(source)
    items = prefetch(held, 2)
    next(items)
    assert source.wait_for(4)
    items.close()
    assert source.closed.is_set()
    assert source.taken == 4
    assert next(held, None) is None


def test_ahead_closes_a_generator_on_the_thread_that_ran_it():
    threads = []

    def observed():
        threads.append(threading.current_thread())
        try:
            yield from range(100)
        finally:
            threads.append(threading.current_thread())

    items = prefetch(observed(), 1)
    next(items)
    items.close()
    assert threads[0] is threads[1] is not threading.current_thread()


def test_ahead_that_is_never_asked_starts_nothing():
    source = Source(10)
    prefetch(iter(source), 3)
    assert source.taken == 0


def test_a_line_of_stages_that_is_left_early_is_wound_up_to_its_first():
    source = Source(1000)
    line = prefetch(parallel_map(double, prefetch(iter(source), 3), workers=2, ahead=4), 2)
    with contextlib.closing(line):
        assert list(islice(line, 5)) == [0, 2, 4, 6, 8]
    assert source.closed.is_set()
    assert source.taken < 30


def test_an_error_at_the_head_of_a_line_reaches_its_end_after_everything_before_it():
    line = prefetch(parallel_map(double, prefetch(iter(Source(50, fails_at=30)), 3), workers=2, ahead=4), 2)
    assert list(islice(line, 30)) == [double(number) for number in range(30)]
    with pytest.raises(OSError, match="the source broke"):
        next(line)


def test_until_ends_when_told_to():
    stop, seen = threading.Event(), []
    for item in take_until(range(100), stop):
        seen.append(item)
        if item == 3:
            stop.set()
    assert seen == [0, 1, 2, 3]


@given(st.lists(st.integers()), st.integers(1, 5))
def test_gathered_lists_are_full_where_nothing_is_waited_for(items, size):
    assert list(batched_within(items, size, 60)) == list(batched(items, size))


def test_a_gathered_item_waits_for_no_more_than_the_next_one_after_its_time():
    def slow():
        for item in range(6):
            time.sleep(0.02)
            yield item

    assert list(batched_within(slow(), 100, 0)) == [[item] for item in range(6)]
    assert list(batched_within(slow(), 100, 60)) == [list(range(6))]


def test_until_that_is_never_told_gives_everything():
    assert list(take_until(range(5), threading.Event())) == [0, 1, 2, 3, 4]


def one_key(_item):
    return "k"


@given(st.lists(st.integers(0, 5)), st.integers(1, 5), st.integers(1, 3), st.integers(1, 9))
def test_spread_is_a_map_in_order(items, workers, at_once, ahead):
    keys = {0: None, 1: "a", 2: "a", 3: "b", 4: "b", 5: "c"}
    got = parallel_map_by_key(
        lambda item: item * 10, items, key=keys.get, workers=workers, at_once=at_once, ahead=ahead
    )
    assert list(got) == [item * 10 for item in items]


def test_spread_runs_no_more_at_once_than_told_for_a_key_and_all_workers_for_none():
    running, most, lock = 0, 0, threading.Lock()

    def work(_item):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    list(parallel_map_by_key(work, range(40), key=one_key, workers=16, at_once=3, ahead=40))
    assert most == 3
    most = 0
    list(parallel_map_by_key(work, range(40), key=lambda _: None, workers=16, at_once=3, ahead=40))
    assert most > 3


def test_a_slow_key_holds_back_itself_alone():
    go, done = threading.Event(), threading.Semaphore(0)

    def work(item):
        if item % 2:
            assert go.wait(PATIENCE_S)
        else:
            done.release()
        return item

    got = parallel_map_by_key(work, range(100), key=lambda item: str(item % 2), workers=4, at_once=2, ahead=100)
    first = threading.Thread(target=lambda: next(got))
    first.start()
    first.join()
    waiter = threading.Thread(target=lambda: next(got))
    waiter.start()
    for _ in range(50):
        assert done.acquire(timeout=PATIENCE_S), "the fast half waits for the slow one"
    go.set()
    waiter.join()
    assert list(got) == list(range(2, 100))


@pytest.mark.parametrize("fails_at", [0, 5])
def test_spread_raises_what_its_source_raises_after_what_came_before(fails_at):
    got = parallel_map_by_key(lambda item: item, Source(9, fails_at), key=one_key, workers=2, at_once=1, ahead=4)
    seen = []
    with pytest.raises(OSError, match="the source broke"):
        seen.extend(got)
    source = Source(9, fails_at)
    assert list(islice(parallel_map_by_key(str, source, key=one_key, workers=2, at_once=1, ahead=4), fails_at)) == [
        str(number) for number in range(fails_at)
    ]


def test_spread_raises_what_its_function_raises_at_its_place():
    def work(item):
        return 1 // (item - 3)

    got = parallel_map_by_key(work, range(9), key=one_key, workers=4, at_once=4, ahead=9)
    assert [next(got) for _ in range(3)] == [-1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(got)


def test_a_spread_that_nobody_wants_more_of_stops():
    count = threading.active_count()
    source = Source(10**6)
    got = parallel_map_by_key(str, source, key=one_key, workers=4, at_once=2, ahead=8)
    next(got)
    got.close()
    assert source.closed.wait(PATIENCE_S)
    assert source.taken <= 10
    assert threading.active_count() == count
