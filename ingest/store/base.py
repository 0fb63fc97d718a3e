"""The Protocol of an embedding store, on a disk (`local`) or on object storage (`object_storage`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest.store.shared_index import SharedKeyIndex

KEY_BYTES = 32
"""The size of a key, the SHA-256 of an image's bytes."""
MAX_SHARD_ROWS = 1 << 24
"""The most rows of a shard that is written. Shards are merged up to this at most; larger ones are still read."""
UNIT_TOLERANCE = 1e-3
"""How far a stored vector's length may be from 1 before it counts as damaged."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard in a listing; `modified` is in seconds since 1970."""

    name: str
    rows: int
    bytes: int
    modified: float


class FindsVectors(Protocol):
    """What finds stored vectors."""

    def find(self, keys: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        """Return each key's vector, or None if it is missing or damaged; raises StorageError."""


class EmbeddingStore(FindsVectors, Protocol):
    """The vectors of one embedding space, (dim,) float32 of unit length, by the SHA-256 of the images' bytes."""

    dim: int
    min_shard_rows: int
    """Minimum rows per shard, except the last. Larger where small objects are expensive."""

    @property
    def rows(self) -> int:
        """Rows in all shards; a key that was written twice counts twice."""

    def take(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return which keys have a sound vector, (n,) bool, and those vectors, (k, dim) float32, in the keys' order.

        Raises StorageError.
        """

    def holds(self, keys: Sequence[bytes]) -> list[bool]:
        """Return for each key whether it has a vector, without reading that."""

    def share_index(self) -> SharedKeyIndex:
        """Return which shard has each vector, for processes that cannot open the store."""

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Write one shard of (n, dim) float32 unit rows; when this returns, they survive a power cut.

        Raises StorageError, and then nothing is written. Raises ValueError for vectors of another shape, which the next
        run would ignore.
        """

    def adopt(self, shards: Mapping[str, NDArray[np.uint8]]) -> None:
        """Add shards that other processes have written since the store was opened: names, and keys, (n, 32) uint8.

        They are not read; those that are gone by now, or not of that shape, are left out.
        """

    def sweep(self) -> None:
        """Remove what killed commands have left of shards; nobody else may write to a store on a disk meanwhile."""

    def shards(self) -> list[Shard]:
        """List the sound shards, the oldest first."""

    def rewrite(self, names: Sequence[str], keep: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> None:
        """Merge shards into one, keeping only rows whose keys `keep` accepts; then remove the old ones.

        `keep` maps keys, (n, 32) uint8, to (n,) bool. Only sound vectors are kept, and no shard is removed before the
        new one can be read. Shards that are gone by now are left out, and one that would stay as it is is left alone.
        A reader that has the old shards open finds the new one. After a kill in between both exist, which does no harm.
        Raises ValueError for more rows than a shard may have, and then nothing is changed.
        """


def check_shape(keys: Sequence[bytes], vectors: NDArray[np.float32], dim: int) -> None:
    """Raise ValueError unless there is one vector of length `dim` per key."""
    if vectors.shape != (len(keys), dim):
        raise ValueError(f"{len(keys)} keys and vectors of shape {vectors.shape}; the store's dim is {dim}")
    check_rows(len(keys))


def check_rows(rows: int) -> None:
    """Raise ValueError for more rows than a shard may have."""
    if rows > MAX_SHARD_ROWS:
        raise ValueError(f"{rows} rows are too many for a shard; at most {MAX_SHARD_ROWS}")


def select_rows(
    keys: NDArray[np.uint8],
    vectors: NDArray[np.float32],
    is_current: NDArray[np.bool_],
    take: Callable[[Sequence[bytes]], tuple[NDArray[np.bool_], NDArray[np.float32]]],
) -> NDArray[np.bool_]:
    """Return which rows of a shard a merged one must have, (n,) bool: sound ones that no sound row replaces.

    `is_current` says whose key no later shard has, and `take` finds what replaces the others, as `EmbeddingStore.take`.
    """
    wanted = are_unit_rows(vectors)
    replaced = np.flatnonzero(wanted & ~is_current)
    if len(replaced):
        wanted[replaced] = ~take([keys[at].tobytes() for at in replaced.tolist()])[0]
    return wanted


def are_unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which rows of (n, dim) float32 have unit length; a row with NaN has not."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    is_unit: NDArray[np.bool_] = np.abs(lengths - 1.0) <= UNIT_TOLERANCE
    return is_unit


def to_list(sound: NDArray[np.bool_], vectors: NDArray[np.float32]) -> list[NDArray[np.float32] | None]:
    """Return what `take` returned as what `find` returns."""
    rows = iter(vectors)
    return [next(rows) if is_sound else None for is_sound in sound.tolist()]
