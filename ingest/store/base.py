"""What a store of vectors can do, wherever it lies: on a disk (`shards`) or on object storage (`objects`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ingest.store.key_index import KeyArrays


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as a listing shows it: `modified` is in seconds since 1970."""

    name: str
    rows: int
    bytes: int
    modified: float


class EmbeddingStore(Protocol):
    """The vectors of one embedding space, (dim,) float32 of unit length, by the SHA-256 of the pictures' bytes."""

    dim: int
    fewest: int
    """So many rows at least should make a shard, but for a run's last one: where a small one is dear."""

    @property
    def rows(self) -> int:
        """Rows in all shards; a key that was written twice counts twice."""

    def find(self, keys: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        """Return each key's vector, or None where there is none or it is damaged; raises StorageError."""

    def take(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return which keys have a sound vector, (n,) bool, and those vectors, (k, dim) float32, in the keys' order."""

    def holds(self, keys: Sequence[bytes]) -> list[bool]:
        """Tell for each key whether a vector is there, without reading it."""

    def known(self) -> KeyArrays:
        """Return which keys there are, for a process without the store."""

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Write one shard of (n, dim) float32 unit rows; when this returns they survive a power cut."""

    def adopt(self, name: str) -> None:
        """Take note of a shard that another process has written since the store was opened."""

    def shards(self) -> list[Shard]:
        """List the shards that are sound, the oldest first."""

    def rewrite(self, names: Sequence[str], keep: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> None:
        """Make one shard of several, of the rows whose keys, (n, 32) uint8, `keep` wants; then remove them.

        A reader that still has the old ones in mind finds the new one. A kill in between leaves both, which is sound.
        """
