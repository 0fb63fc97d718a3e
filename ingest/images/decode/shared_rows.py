"""The pixels of a block of images in the memory that a worker process shares with its parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest.runtime.worker_processes import SHARED_BYTES

if TYPE_CHECKING:
    import mmap

    from numpy.typing import NDArray

    from ingest.embedding.preprocess import Preprocessing


def shared_rows(shared: mmap.mmap, steps: Preprocessing) -> NDArray[np.uint8]:
    """Return the memory as rows of a model's pixels, (n, height, width, 3) uint8."""
    shape = (steps.height, steps.width, 3)
    count = SHARED_BYTES // int(np.prod(shape))
    return np.ndarray((count, *shape), np.uint8, shared)
