"""The Encoder Protocol, and the pipeline stage that turns pixels into unit vectors in full batches."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

import numpy as np

from ingest.core.records import Decoded, Embedded, Reason, Skipped, Stage
from ingest.runtime import parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.core.contract import Space
    from ingest.core.records import Crop

# Vectors kept for repeated images, in batches, and the minimum: more than the look-ahead between lookup and here.
_KEPT_BATCHES, _KEPT_MIN = 32, 1024
_WAITING = 32  # batches of records that may wait for a batch to fill, so that memory is bounded


Pixels: TypeAlias = "Sequence[NDArray[np.uint8] | Crop] | NDArray[np.uint8]"
"""Images of the model's size: each (height, width, 3) uint8 RGB, in a sequence or in an array of (n, height, width, 3).

Or, in a sequence, what is to be resized to that.
"""


class Encoder(Protocol):
    """A model that embeds images and texts in one space."""

    @property
    def space(self) -> Space:
        """The embedding space of its vectors."""

    def images(self, pixels: Pixels) -> NDArray[np.float32]:
        """Embed n images into (n, dim) float32, of any length."""

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts into (n, dim) float32, of any length."""

    def size(self) -> Size:
        """Return how many images to give at once, and on how many threads; may load the model to find out."""


class CountingEncoder:
    """An Encoder that calls `done` with the number of images of each call, and embeds inside the context `at_work`."""

    def __init__(
        self,
        encoder: Encoder,
        done: Callable[[int], None],
        at_work: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._encoder = encoder
        self._done = done
        self._at_work = at_work
        self._counting = threading.Lock()

    @property
    def space(self) -> Space:
        """The encoder's embedding space."""
        return self._encoder.space

    def images(self, pixels: Pixels) -> NDArray[np.float32]:
        """Embed images, and count them."""
        with self._at_work():
            vectors = self._encoder.images(pixels)
        with self._counting:
            self._done(len(pixels))
        return vectors

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts."""
        return self._encoder.texts(texts)

    def size(self) -> Size:
        """Return the encoder's size."""
        return self._encoder.size()


class Size(NamedTuple):
    """How an encoder is used best: `batch` images a call, `lanes` calls at once."""

    batch: int
    lanes: int = 1


def embed(
    records: Iterable[Decoded | Embedded | Skipped], encoder: Encoder, batch: int | Callable[[], Size]
) -> Iterator[Embedded | Skipped]:
    """Turn each `Decoded` into an `Embedded` of unit length, in order and in batches.

    `batch` is called, if it can be, when the first image arrives. An image that several products share is embedded
    once. A vector that is not finite or has length 0 becomes a `Skipped`. With several lanes one more batch waits, so
    that no lane is idle while its results are passed on.
    """
    source = iter(records)
    for record in source:
        if isinstance(record, Decoded):
            size = Size(batch) if isinstance(batch, int) else batch()
            break
        yield record
    else:
        return
    known = _RecentVectors(max((_KEPT_BATCHES + 2 * size.lanes) * size.batch, _KEPT_MIN))

    def vectors(group: _Group) -> NDArray[np.float32]:
        return normalize(encoder.images(list(group.new.values())))

    waiting = _groups(chain([record], source), known, size.batch)
    ahead = size.lanes + (size.lanes > 1)  # one lane has the whole batch, and a kill loses no more than that
    done = parallel.parallel_map(
        lambda group: (group, vectors(group) if group.new else None),
        waiting, workers=size.lanes, ahead=ahead, here=lambda group: not group.new,
    )  # fmt: skip
    with closing(done):
        for group, rows in done:
            if rows is not None:
                known.add(group.new, rows)
            yield from _finish(group, known)


def normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows of (n, dim) to unit length, computed in float64; a row of length 0 becomes NaN."""
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        rows = np.divide(wide, lengths, out=np.full_like(wide, np.nan), where=lengths > 0)
    unit_rows: NDArray[np.float32] = rows.astype(np.float32)
    return unit_rows


class _RecentVectors:
    """The latest vectors by image, and the images whose vectors are being computed."""

    def __init__(self, most: int) -> None:
        self._vectors: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._expected: set[bytes] = set()
        self._most = most

    def __getitem__(self, sha256: bytes) -> NDArray[np.float32]:
        return self._vectors[sha256]

    def get(self, sha256: bytes) -> NDArray[np.float32] | None:
        return self._vectors.get(sha256)

    def expect(self, sha256: bytes) -> bool:
        """Note that an image will be embedded; False if that was noted already."""
        if sha256 in self._expected:
            return False
        self._expected.add(sha256)
        return True

    def add(self, new: Iterable[bytes], rows: NDArray[np.float32]) -> None:
        self._vectors.update(zip(new, rows, strict=True))
        self._expected.difference_update(new)

    def drop_oldest(self) -> None:
        while len(self._vectors) > self._most:
            self._vectors.popitem(last=False)


class _Group(NamedTuple):
    """Consecutive records, the vectors that are known for them, and the pixels of the images to embed."""

    records: list[Decoded | Embedded | Skipped]
    old: dict[bytes, NDArray[np.float32]]
    new: dict[bytes, NDArray[np.uint8] | Crop]


def _groups(records: Iterable[Decoded | Embedded | Skipped], known: _RecentVectors, batch: int) -> Iterator[_Group]:
    group = _Group([], {}, {})
    for record in records:
        group.records.append(record)
        if isinstance(record, Decoded):
            if (vector := known.get(record.sha256)) is not None:
                group.old[record.sha256] = vector
            elif known.expect(record.sha256):
                group.new[record.sha256] = record.pixels
        if len(group.new) == batch or not group.new or len(group.records) >= _WAITING * batch:
            yield group
            group = _Group([], {}, {})
    if group.records:
        yield group


def _finish(group: _Group, known: _RecentVectors) -> Iterator[Embedded | Skipped]:
    for record in group.records:
        if not isinstance(record, Decoded):
            yield record
            continue
        vector = group.old.get(record.sha256)
        is_shared = vector is not None
        if vector is None:
            vector = known[record.sha256]
        if np.isfinite(vector).all():
            yield Embedded(record.product, record.sha256, vector, stored=is_shared)
        else:
            detail = "the model gave a vector that is not finite or has length 0; look at the image"
            yield record.product.skipped(Stage.EMBEDDING, Reason.BAD_VECTOR, detail)
    known.drop_oldest()
