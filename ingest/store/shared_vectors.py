"""Reads vectors for a process that has no store open: it gets the index, and reads no keys."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.runtime.remote_files import is_remote
from ingest.store.base import are_unit_rows, to_list
from ingest.store.bucket import Bucket
from ingest.store.key_index import KeyIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ingest.store.shared_index import SharedKeyIndex

_OPEN = 64  # shards held: files are mapped, objects are in memory
_UNUSABLE = (FileNotFoundError, ValueError, EOFError)


class SharedVectors:
    """The vectors of one embedding space, (dim,) float32 of unit length, in a folder or behind a URL."""

    def __init__(self, place: str, dim: int, index: SharedKeyIndex) -> None:
        self._dim = dim
        self._index = KeyIndex.of(index)
        read = _from_bucket(Bucket(place)) if is_remote(place, "--store") else _from_folder(Path(place))
        self._read = lru_cache(_OPEN)(read)

    def find(self, keys: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        """Return each key's vector, or None if it is damaged, or its shard was merged meanwhile.

        Raises StorageError if object storage does not answer.
        """
        vectors = np.zeros((len(keys), self._dim), np.float32)
        for shard, positions, rows in self._index.locate(keys):
            try:
                vectors[positions] = self._read(shard)[rows]
            except (*_UNUSABLE, IndexError):
                continue
        sound = are_unit_rows(vectors)
        return to_list(sound, vectors[sound])


def _from_folder(folder: Path) -> Callable[[str], NDArray[np.float32]]:
    def read(shard: str) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = np.load(folder / shard / "embeddings.npy", mmap_mode="r", allow_pickle=False)
        return vectors

    return read


def _from_bucket(bucket: Bucket) -> Callable[[str], NDArray[np.float32]]:
    def read(shard: str) -> NDArray[np.float32]:
        about = bucket.list(shard).get("embeddings.npy")
        if about is None:
            raise FileNotFoundError(shard)
        content = BytesIO(bucket.get(f"{shard}/embeddings.npy", about.size))
        vectors: NDArray[np.float32] = np.load(content, allow_pickle=False)
        return vectors

    return read
