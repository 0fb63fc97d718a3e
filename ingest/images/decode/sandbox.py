"""Decodes images in a process that may crash: files that look damaged, and formats whose decoders are seldom tested.

If it crashes or takes too long, the file counts as not an image, and the next one gets a new process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from PIL import Image

from ingest.core.records import Reason
from ingest.images.decode.decoder import MAX_PIXELS
from ingest.images.decode.errors import UndecodableError, crashed
from ingest.images.decode.in_processes import PROGRAM
from ingest.runtime.worker_processes import TIMEOUT_S, WorkerDiedError, WorkerProcesses

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Sandbox:
    """One process per calling thread, started with its first image; a context manager that ends them all."""

    def __init__(self, command: Sequence[str] = (), timeout_s: float = TIMEOUT_S) -> None:
        self._processes = WorkerProcesses(PROGRAM, timeout_s, command)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.__exit__()

    def open_rgb(self, path: Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
        """Return the file's first image as `decoder.open_rgb` does; raises UndecodableError."""
        worker = self._processes.worker()
        try:
            worker.send({"open": str(path), "max_pixels": max_pixels})
            answer = worker.receive()
            if "error" in answer:
                reason, detail = answer["error"]
                raise UndecodableError(Reason(reason), detail)
            width, height = answer["size"]
            pixels = np.empty((height, width, 3), np.uint8)
            worker.receive_into(pixels)
        except WorkerDiedError as error:
            raise crashed() from error
        return Image.fromarray(pixels)
