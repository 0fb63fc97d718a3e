"""Decodes images in a process that may crash: files that look damaged, and formats whose decoders are seldom tested.

If it crashes or takes too long, the file counts as not an image, and the next one gets a new process.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

import numpy as np
from PIL import Image

from ingest.core.records import Reason
from ingest.images.decode.decoder import MAX_PIXELS
from ingest.images.decode.errors import UndecodableError, crash
from ingest.images.decode.in_processes import PROGRAM
from ingest.runtime.worker_processes import TIMEOUT_S, WorkerDiedError, WorkerProcesses

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.runtime.worker_processes import Worker


class Sandbox:
    """A process for each core at most, started when one is needed; a context manager that ends them."""

    def __init__(self, command: Sequence[str] = (), timeout_s: float = TIMEOUT_S) -> None:
        self._processes = WorkerProcesses(PROGRAM, os.cpu_count() or 1, timeout_s, command)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.__exit__()

    def open_rgb(self, path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """Return the file's first image as `decoder.open_rgb` does; raises UndecodableError."""
        with self._processes.lend() as worker:
            try:
                pixels = _receive(worker, path, max_pixels)
            except WorkerDiedError as error:
                raise crash() from error
        if isinstance(pixels, UndecodableError):
            raise pixels
        return Image.fromarray(pixels)


def _receive(worker: Worker, path: Path, max_pixels: int) -> NDArray[np.uint8] | UndecodableError:
    worker.send({"open": str(path), "max_pixels": max_pixels})
    first, second = worker.receive()
    if isinstance(first, str):
        return UndecodableError(Reason(first), second)
    pixels = np.empty((second, first, 3), np.uint8)
    flat = pixels.data.cast("B")
    for at in range(0, len(flat), worker.shared_bytes):
        size = worker.receive()
        flat[at : at + size] = memoryview(worker.shared)[:size]
        worker.send(size)
    return pixels
