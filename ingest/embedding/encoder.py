"""What embeds: the Protocol, and the stage that turns pixels into unit vectors in full batches."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ingest.records import Decoded, Embedded, Reason, Skipped, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.contract import Space

# Vectors kept at hand, in batches and at least: more than the look-ahead between lookup and here holds.
_REMEMBERED, _REMEMBERED_LEAST = 32, 1024
_HELD = 32  # batches of records that may wait for a batch to fill, so that memory is bounded


class Encoder(Protocol):
    """A model that puts pictures and texts into one space."""

    @property
    def space(self) -> Space:
        """The space its vectors lie in."""

    def images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed (n, height, width, 3) uint8 RGB into (n, dim) float32, of any length."""

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts into (n, dim) float32, of any length."""


class Counted:
    """An Encoder that tells `done` how many pictures each call embedded."""

    def __init__(self, encoder: Encoder, done: Callable[[int], None]) -> None:
        self._encoder = encoder
        self._done = done

    @property
    def space(self) -> Space:
        """The encoder's space."""
        return self._encoder.space

    def images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed pictures, and count them."""
        vectors = self._encoder.images(pixels)
        self._done(len(pixels))
        return vectors

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts."""
        return self._encoder.texts(texts)


def embed(
    records: Iterable[Decoded | Embedded | Skipped], encoder: Encoder, batch: int
) -> Iterator[Embedded | Skipped]:
    """Turn each `Decoded` into an `Embedded` of unit length, in order, `batch` pictures at a time.

    A picture that several products share is embedded once. A vector that is not finite or has no length
    becomes a `Skipped`.
    """
    recent: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
    held: list[Decoded | Embedded | Skipped] = []
    new: dict[bytes, NDArray[np.uint8]] = {}
    for record in records:
        held.append(record)
        if isinstance(record, Decoded) and record.sha256 not in recent:
            new[record.sha256] = record.pixels
        if len(new) == batch or not new or len(held) >= _HELD * batch:
            yield from _finish(held, new, recent, encoder, batch)
            held, new = [], {}
    yield from _finish(held, new, recent, encoder, batch)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows of (n, dim) to unit length, in float64 and back; a row without a direction becomes NaN."""
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        rows = np.divide(wide, lengths, out=np.full_like(wide, np.nan), where=lengths > 0)
    unit_rows: NDArray[np.float32] = rows.astype(np.float32)
    return unit_rows


def _finish(
    held: list[Decoded | Embedded | Skipped],
    new: dict[bytes, NDArray[np.uint8]],
    recent: OrderedDict[bytes, NDArray[np.float32]],
    encoder: Encoder,
    batch: int,
) -> Iterator[Embedded | Skipped]:
    if new:
        rows = unit(encoder.images(np.stack(list(new.values()))))
        recent.update(zip(new, rows, strict=True))
    for record in held:
        if not isinstance(record, Decoded):
            yield record
        elif np.isfinite(vector := recent[record.sha256]).all():
            yield Embedded(record.product, record.sha256, vector)
        else:
            detail = "the model gave a vector that is not finite or has no length; look at the picture"
            yield Skipped(record.product.product_id, Stage.EMBEDDING, Reason.BAD_VECTOR, detail, record.product.line)
    while len(recent) > max(_REMEMBERED * batch, _REMEMBERED_LEAST):
        recent.popitem(last=False)
