"""A store that is read, beneath one that takes what is added: for commands that change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ingest.store.base import EmbeddingStore, Shard
    from ingest.store.key_index import KeyArrays


class OverlayStore:
    """The vectors of `below` and of `above`, as `EmbeddingStore` says; what is added goes into `above`, and `below`
    stays.
    """

    def __init__(self, below: EmbeddingStore, above: EmbeddingStore) -> None:
        self.dim, self.fewest = below.dim, below.fewest
        self._below = below
        self._above = above

    @property
    def rows(self) -> int:
        """Rows in all shards of both."""
        return self._below.rows + self._above.rows

    def find(self, keys: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        """Return each key's vector, or None where neither has it."""
        found = self._below.find(keys)
        missing = [at for at, vector in enumerate(found) if vector is None] if self._above.rows else []
        for at, vector in zip(missing, self._above.find([keys[at] for at in missing]), strict=True):
            found[at] = vector
        return found

    def take(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return which keys have a sound vector, and those vectors, as `EmbeddingStore` says."""
        if not self._above.rows:
            return self._below.take(keys)
        found = self.find(keys)
        kept = [vector for vector in found if vector is not None]
        sound = np.array([vector is not None for vector in found], bool)
        return sound, np.stack(kept) if kept else np.empty((0, self.dim), np.float32)

    def holds(self, keys: Sequence[bytes]) -> list[bool]:
        """Tell for each key whether either has a vector, without reading it."""
        pairs = zip(self._below.holds(keys), self._above.holds(keys), strict=True)
        return [below or above for below, above in pairs]

    def known(self) -> KeyArrays:
        """Return which keys `below` has."""
        return self._below.known()

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Write one shard of (n, dim) float32 unit rows into `above`."""
        self._above.add(keys, vectors)

    def adopt(self, name: str) -> None:
        """Take note of a shard that another process has written into `below`."""
        self._below.adopt(name)

    def shards(self) -> list[Shard]:
        """List the shards of `above`, which are all that may be rewritten."""
        return self._above.shards()

    def rewrite(self, names: Sequence[str], keep: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> None:
        """Make one shard of several of `above`."""
        self._above.rewrite(names, keep)
