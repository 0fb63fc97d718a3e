"""Which shard has each vector, as arrays that other processes can use without a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ingest.runtime.hash_index import SortedKeys


class SharedKeyIndex(NamedTuple):
    """A store's whole index.

    `keys` are all keys with the numbers of their rows; `starts`, (s,) int64, is the first number of each shard, and
    `shards`, (s,) bytes, its name.
    """

    keys: SortedKeys
    starts: NDArray[np.int64]
    shards: NDArray[np.bytes_]
