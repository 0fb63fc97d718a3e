"""Concurrent requests go into one batch, and too many are refused."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ingest.server.batching import Batches, Gate
from ingest.server.responses import OverloadedError

LARGEST = 8


class Model:
    """Embeds numbers as themselves; a batch with a negative one fails. Waits while `open` is not set."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, items: list[int]) -> np.ndarray:
        self.open.wait(10)
        self.batches.append(items)
        if min(items) < 0:
            raise ValueError("negative")
        return np.array([[item] for item in items], np.float32)


@pytest.fixture
def thread():
    with ThreadPoolExecutor(1) as made:
        yield made


def test_each_request_gets_its_own_row_from_few_batches(thread) -> None:
    model, sizes = Model(), []

    async def ask() -> list[float]:
        batches = Batches(model, thread, LARGEST, sizes.append)
        return [float(row[0]) for row in await asyncio.gather(*map(batches.row, range(20)))]

    assert asyncio.run(ask()) == list(range(20))
    assert sizes == [8, 8, 4]


def test_the_next_batch_fills_up_while_one_is_computed(thread) -> None:
    model = Model()

    async def ask() -> None:
        batches = Batches(model, thread, LARGEST, lambda _: None)
        model.open.clear()
        first = asyncio.create_task(batches.row(0))
        await asyncio.sleep(0.05)  # the first batch has started
        others = [asyncio.create_task(batches.row(number)) for number in range(1, 6)]
        await asyncio.sleep(0)
        model.open.set()
        await asyncio.gather(first, *others)

    asyncio.run(ask())
    assert model.batches == [[0], [1, 2, 3, 4, 5]]


def test_a_failure_reaches_only_the_requests_of_its_batch(thread) -> None:
    model = Model()

    async def ask() -> list[object]:
        batches = Batches(model, thread, LARGEST, lambda _: None)
        failed = await asyncio.gather(batches.row(-1), batches.row(1), return_exceptions=True)
        return [*failed, float((await batches.row(2))[0])]

    first, second, third = asyncio.run(ask())
    assert isinstance(first, ValueError)
    assert isinstance(second, ValueError)
    assert third == 2


def test_a_cancelled_request_is_not_embedded(thread) -> None:
    model = Model()

    async def ask() -> None:
        batches = Batches(model, thread, LARGEST, lambda _: None)
        gone = asyncio.create_task(batches.row(1))
        await asyncio.sleep(0)
        gone.cancel()
        await batches.row(2)

    asyncio.run(ask())
    assert model.batches == [[2]]


def test_a_full_gate_refuses_at_once_and_accepts_again() -> None:
    gate = Gate(2)
    with gate.enter(), gate.enter():
        with pytest.raises(OverloadedError, match="2 requests are waiting"), gate.enter():
            pass
        assert gate.inside == 2
    with gate.enter():
        assert gate.inside == 1
