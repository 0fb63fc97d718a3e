"""The pixels of images in the memory that a worker process shares with its parent.

The memory is divided into slots, each for the images of a task, one behind the other. The parent says which slot a
process writes to, and gives the pixels on as they are: to copy them takes longer than all else that it does for an
image.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ingest.runtime.worker_processes import LEAST_SHARED_BYTES

if TYPE_CHECKING:
    import mmap

    from numpy.typing import NDArray

    from ingest.embedding.preprocess import Preprocessing
    from ingest.runtime.worker_processes import Worker

_MOST = 32  # images in a slot
_ROOM_FOR_CROPS = 4  # times the model's input: a crop has up to 9 times as many pixels, and most have 2 to 5
_SCRATCH = 0  # the slot whose pixels are copied


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """How large a slot is: `images` of the model's input, each of `image_bytes`, and `size` in bytes, more for crops.

    Raises ValueError for a model whose input does not fit into the memory that processes share.
    """

    steps: Preprocessing
    crops: bool = False

    def __post_init__(self) -> None:
        """Check that there is room."""
        if not self.images:
            raise ValueError(f"{self.steps.height} x {self.steps.width} pixels are more than processes share")

    @property
    def image_bytes(self) -> int:
        """What the pixels of one image take."""
        return self.steps.height * self.steps.width * 3

    @property
    def images(self) -> int:
        """The most images of a task."""
        return min(_MOST, LEAST_SHARED_BYTES // self.image_bytes)

    @property
    def size(self) -> int:
        """The bytes of a slot."""
        return min(self.images * self.image_bytes * (_ROOM_FOR_CROPS if self.crops else 1), LEAST_SHARED_BYTES)

    def slot(self, shared: mmap.mmap, number: int) -> NDArray[np.uint8]:
        """Return a slot as (bytes,) uint8; nothing but slices of that keeps it alive."""
        return np.ndarray(self.size, np.uint8, shared, number * self.size)


class SharedRows:
    """The slots of one process; a slot is used again when nobody holds its pixels any more.

    For one thread that takes slots; pixels may be dropped on any. Where all slots are held, pixels are copied.
    """

    def __init__(self, worker: Worker, layout: SlotLayout) -> None:
        self._shared = worker.shared
        self._layout = layout
        self._free = [slot for slot in reversed(range(worker.shared_bytes // layout.size)) if slot != _SCRATCH]
        self._held: dict[int, weakref.ref[NDArray[np.uint8]]] = {}

    def take(self) -> int:
        """Return a slot to write to, the one that became free last: its memory is in use already."""
        return self._free.pop() if self._free else _SCRATCH

    def content(self, slot: int, size: int) -> NDArray[np.uint8]:
        """Return a slot that was taken, or a copy of its first `size` bytes, as uint8 to keep slices of."""
        content = self._layout.slot(self._shared, slot)
        if slot == _SCRATCH:
            return content[:size].copy()
        self._held[slot] = weakref.ref(content, lambda _: self._free.append(slot))
        return content
