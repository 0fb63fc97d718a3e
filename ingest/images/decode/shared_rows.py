"""The pixels of images in the memory that a worker process shares with its parent.

The memory is divided into slots of some images each. The parent says which slot a process writes to, and gives the
pixels on as they are: to copy them takes longer than all else that it does for an image.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from ingest.runtime.worker_processes import LEAST_SHARED_BYTES

if TYPE_CHECKING:
    import mmap

    from numpy.typing import NDArray

    from ingest.embedding.preprocess import Preprocessing
    from ingest.runtime.worker_processes import Worker

_MOST = 32  # images in a slot
_SCRATCH = 0  # the slot whose pixels are copied


def rows_of_slot(steps: Preprocessing) -> int:
    """Return how many images of a model's size a slot has room for; raises ValueError if not even one."""
    rows = min(_MOST, LEAST_SHARED_BYTES // _row_bytes(steps))
    if not rows:
        raise ValueError(f"{steps.height} × {steps.width} pixels are more than processes share")
    return rows


def slot_rows(shared: mmap.mmap, steps: Preprocessing, slot: int, count: int) -> NDArray[np.uint8]:
    """Return the pixels of the first `count` images of a slot, (count, height, width, 3) uint8."""
    at = slot * rows_of_slot(steps) * _row_bytes(steps)
    return np.ndarray((count, steps.height, steps.width, 3), np.uint8, shared, at)


class SharedRows:
    """The slots of one process; a slot is used again when nobody holds its pixels any more.

    For one thread that takes slots; pixels may be dropped on any. Where all slots are held, pixels are copied.
    """

    def __init__(self, worker: Worker, steps: Preprocessing) -> None:
        self._shared = worker.shared
        self._steps = steps
        count = worker.shared_bytes // (rows_of_slot(steps) * _row_bytes(steps))
        self._free = [slot for slot in reversed(range(count)) if slot != _SCRATCH]
        self._held: dict[int, weakref.ref[NDArray[np.uint8]]] = {}

    def take(self) -> int:
        """Return a slot to write to, the one that became free last: its memory is in use already."""
        return self._free.pop() if self._free else _SCRATCH

    def rows(self, slot: int, count: int) -> NDArray[np.uint8]:
        """Return the pixels of the first `count` images of a slot that was taken, (count, height, width, 3) uint8."""
        rows = slot_rows(self._shared, self._steps, slot, count)
        if slot == _SCRATCH:
            return rows.copy()
        self._held[slot] = weakref.ref(rows, lambda _: self._free.append(slot))  # each row keeps `rows` alive
        return rows


def _row_bytes(steps: Preprocessing) -> int:
    return steps.height * steps.width * 3
