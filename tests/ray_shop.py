"""What Ray's workers run in tests: encoders that are slow or deadly, and a driver to be killed."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from fake_encoder import FakeEncoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from ingest.contract import Space
    from ingest.distributed.stages import Job

POISON = 77
"""The value of all pixels of a picture that kills whoever embeds it."""


@dataclass(frozen=True)
class Plain:
    """Makes the fake encoder, waiting `pause_s` for each batch."""

    pause_s: float = 0.0

    def __call__(self, job: Job) -> Any:
        return _Slow(job.checkpoint.space, self)

    def before(self, batch: NDArray[np.uint8]) -> None:
        time.sleep(self.pause_s * bool(len(batch)))


@dataclass(frozen=True)
class DiesOnce(Plain):
    """Takes its process with it at the first batch, once for all workers together."""

    mark: Path = Path()

    def before(self, batch: NDArray[np.uint8]) -> None:
        time.sleep(self.pause_s * bool(len(batch)))
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return
        os._exit(1)


@dataclass(frozen=True)
class DiesOfPoison(Plain):
    """Takes its process with it whenever a certain picture is in the batch, and leaves a line in `log`."""

    log: Path = Path()

    def before(self, batch: NDArray[np.uint8]) -> None:
        if any((picture == POISON).all() for picture in batch):
            with self.log.open("a") as file:
                file.write(f"{len(batch)}\n")
            os._exit(1)


class _Slow(FakeEncoder):
    def __init__(self, space: Space, kind: Plain) -> None:
        super().__init__(space)
        self._kind = kind

    def images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._kind.before(pixels)
        return super().images(pixels)


@contextmanager
def encoding(encoder: Any) -> Iterator[None]:
    """Have the workers of runs in this block embed with what `encoder` makes."""
    from ingest import pipeline
    from ingest.distributed import engine

    with mock.patch.object(pipeline.engine, "written", partial(engine.written, encoder=encoder)):
        yield
