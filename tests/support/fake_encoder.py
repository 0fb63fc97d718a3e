"""An encoder that needs no model, and nothing that is slow to import."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import numpy as np

from ingest.embedding.encoder import Size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ingest.core.contract import Space
    from ingest.embedding.encoder import Pixels

DIM = 8


class FakeEncoder:
    """Gives each picture a vector that its pixels and the model's name decide."""

    devices: Final = ("cpu",)

    def __init__(self, space: Space, batch: int = 4) -> None:
        self.space = space
        self.pictures = 0
        self.batch = batch

    def images(self, pixels: Pixels) -> NDArray[np.float32]:
        self.pictures += len(pixels)
        return np.stack([vector_of(self.space.model, picture) for picture in pixels])

    def size(self) -> Size:
        return Size(self.batch)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise NotImplementedError


def vector_of(model: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    seed = hashlib.sha256(model.encode() + pixels.tobytes()).digest()
    return np.random.default_rng(list(seed)).normal(size=DIM).astype(np.float32)
