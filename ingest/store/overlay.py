"""A store that is only read, with another on top that takes additions: for commands that change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest.store.base import EmbeddingStore, Shard
    from ingest.store.shared_index import SharedKeyIndex


class OverlayStore:
    """The vectors of `below` and `above`, as `EmbeddingStore` says. Additions go to `above`; `below` stays as it is."""

    def __init__(self, below: EmbeddingStore, above: EmbeddingStore) -> None:
        self.dim, self.min_shard_rows = below.dim, below.min_shard_rows
        self._below = below
        self._above = above

    @property
    def rows(self) -> int:
        """Rows in all shards of both."""
        return self._below.rows + self._above.rows

    def find(self, keys: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        """Return each key's vector, or None if neither has it."""
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
        """Return for each key whether either has a vector, without reading that."""
        pairs = zip(self._below.holds(keys), self._above.holds(keys), strict=True)
        return [below or above for below, above in pairs]

    def share_index(self) -> SharedKeyIndex:
        """Return which shard of `below` has each vector."""
        return self._below.share_index()

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Write one shard into `above`."""
        self._above.add(keys, vectors)

    def adopt(self, shards: Mapping[str, NDArray[np.uint8]]) -> None:
        """Add shards that other processes have written into `below`."""
        self._below.adopt(shards)

    def shards(self) -> list[Shard]:
        """List the shards of `above`; only they may be rewritten."""
        return self._above.shards()

    def sweep(self) -> None:
        """Leave what killed commands have left, as everything else of `below`."""

    def rewrite(self, names: Sequence[str], keep: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> None:
        """Merge shards of `above` into one."""
        self._above.rewrite(names, keep)
