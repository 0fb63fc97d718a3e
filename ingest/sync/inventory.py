"""What a collection holds: id, digest, image and state of each row, in about 75 bytes and the id.

Strings in a dictionary would take three to four times as much. An id is known by 128 bits of Python's own hash, which
differs in each process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest.runtime.hash_index import ABSENT, HashIndex, pack_keys
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

_KEY_BYTES, DIGEST_BYTES, SHA256_BYTES = 16, 16, 32
_RECORD = np.dtype([("digest", np.uint8, DIGEST_BYTES), ("sha", np.uint8, SHA256_BYTES)])
_BLOCK = 65_536  # ids decoded at a time


class Inventory:
    """The rows of a collection in the order they were read, found by id."""

    def __init__(self) -> None:
        self._records = bytearray()
        self._names = bytearray()
        self._lengths = bytearray()
        self._states = bytearray()
        self._index = HashIndex(_KEY_BYTES)
        self.unstored: NDArray[np.int64] = np.empty(0, np.int64)
        """Places of rows that ingest wrote whose vectors the store lacked when they were read."""
        self._repeated: list[tuple[int, int]] = []  # rows whose id an earlier row has: that one, and this one

    def __len__(self) -> int:
        return len(self._records) // _RECORD.itemsize

    def add(self, ids: Sequence[str], digests: Sequence[str], shas: Sequence[str]) -> None:
        """Append rows with digests of 32 hex digits and SHA-256 of 64; any other digest makes a row FOREIGN."""
        if not len(ids) == len(digests) == len(shas):
            raise ValueError(f"{len(ids)} ids, {len(digests)} digests, {len(shas)} images")
        places = np.arange(len(self), len(self) + len(ids))
        firsts = self._index.add(_keys(ids), places)
        repeated = firsts != places
        self._repeated += zip(firsts[repeated].tolist(), places[repeated].tolist(), strict=True)
        rows = np.zeros(len(ids), _RECORD)
        rows["digest"], own = from_hex(digests, DIGEST_BYTES)
        rows["sha"], _ = from_hex(shas, SHA256_BYTES)
        names = [product_id.encode() for product_id in ids]
        self._records += rows.tobytes()
        self._names += b"".join(names)
        self._lengths += np.fromiter(map(len, names), np.uint16, len(names)).tobytes()
        self._states += np.where(own, np.uint8(RowState.GONE), np.uint8(RowState.FOREIGN)).tobytes()

    @property
    def states(self) -> NDArray[np.uint8]:
        """The state of each row, (n,) uint8, to read and write; do not keep it while rows are added."""
        return np.frombuffer(self._states, np.uint8)

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the place of the first row with each product id, or ABSENT."""
        return self._index.find(_keys(ids))

    def same(self, places: NDArray[np.int64], digests: Sequence[bytes]) -> NDArray[np.bool_]:
        """Return for each place, or ABSENT, whether ingest wrote that row and it has this digest."""
        same: NDArray[np.bool_] = places != ABSENT
        at = places[same]
        equal = (self._array["digest"][at] == pack_keys(digests, DIGEST_BYTES)[same]).all(axis=1)
        same[same] = equal & (self.states[at] != RowState.FOREIGN)
        return same

    def has_digests(self, places: NDArray[np.int64], other: Inventory, others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each place whether its row has the digest of another inventory's row, (n,) bool."""
        equal: NDArray[np.bool_] = (self._array["digest"][places] == other._array["digest"][others]).all(axis=1)
        return equal

    def digest(self, place: int) -> str:
        """Return a row's digest, 32 hex digits."""
        return bytes(self._array["digest"][place]).hex()

    def sha256(self, place: int) -> bytes:
        """Return the SHA-256 of a row's image."""
        return bytes(self._array["sha"][place])

    def same_images(self, places: NDArray[np.int64], images: Sequence[bytes]) -> NDArray[np.bool_]:
        """Return for each place, or ABSENT, whether that row says that it is of this image, a SHA-256 of 32 bytes."""
        same: NDArray[np.bool_] = places != ABSENT
        same[same] = (self._array["sha"][places[same]] == pack_keys(images, SHA256_BYTES)[same]).all(axis=1)
        return same

    def places_of(self, images: Sequence[bytes]) -> NDArray[np.int64]:
        """Return the places of all rows that say that they are of one of these images."""
        wanted = HashIndex(SHA256_BYTES)
        wanted.put(pack_keys(images, SHA256_BYTES), np.arange(len(images)))
        return np.flatnonzero(wanted.find(np.ascontiguousarray(self._array["sha"])) != ABSENT)

    def distrust(self, places: NDArray[np.int64]) -> None:
        """Clear the digests of these rows, so that none of them counts as unchanged."""
        self._array["digest"][places] = 0

    def count(self, *states: RowState) -> int:
        """Count the rows in any of these states."""
        return int(np.isin(self.states, list(states)).sum())

    @property
    def products(self) -> NDArray[np.bool_]:
        """Which rows are the first of their id, (n,) bool: one for each product that apps find."""
        is_first: NDArray[np.bool_] = self.states != RowState.DOUBLE
        return is_first

    def ids(self, states: Collection[RowState]) -> Iterator[tuple[str, RowState]]:
        """Yield (product id, state) of the rows in these states, in order."""
        mask = np.isin(self.states, list(states))
        for product_id, state in zip(self.where(mask), self.states[mask].tolist(), strict=True):
            yield product_id, RowState(state)

    def where(self, mask: NDArray[np.bool_]) -> Iterator[str]:
        """Yield the product ids of the rows selected by `mask`, (n,) bool."""
        start = 0
        for block in range(0, len(self), _BLOCK):
            lengths = np.frombuffer(self._lengths, np.uint16)[block : block + _BLOCK].tolist()
            for length, wanted in zip(lengths, mask[block : block + _BLOCK].tolist(), strict=True):
                if wanted:
                    yield self._names[start : start + length].decode()
                start += length

    def distrust_duplicates(self) -> None:
        """Distrust rows that share their id: the first is written again, and that replaces them all.

        A killed Milvus Lite leaves such rows, and so do some servers (milvus-io/milvus#44320). Deleting one of them as
        GONE would delete its product.
        """
        for first, other in self._repeated:
            if RowState.FOREIGN in (self.states[first], self.states[other]):
                self.states[[first, other]] = RowState.FOREIGN
            else:
                self.states[other] = RowState.DOUBLE
                self.distrust(np.array([first]))

    def count_duplicates(self) -> int:
        """Count the rows whose id an earlier row has."""
        return len(self._repeated)

    @property
    def _array(self) -> NDArray[np.void]:
        return np.frombuffer(self._records, _RECORD)


def _keys(ids: Sequence[str]) -> NDArray[np.uint8]:
    """Return the 16 bytes by which this process knows each id, (n, 16) uint8."""
    # SipHash of two texts. BLAKE2b takes three times as long, and a nightly run needs two keys per product.
    hashes = np.empty((len(ids), 2), np.int64)
    hashes[:, 0] = np.fromiter(map(hash, ids), np.int64, len(ids))
    hashes[:, 1] = np.fromiter((hash(f"\0{product_id}") for product_id in ids), np.int64, len(ids))
    return hashes.view(np.uint8)


def from_hex(texts: Sequence[str], size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return hex digits as (n, size) uint8, and which texts are that, (n,) bool; the others give zeros."""
    sound = np.ones(len(texts), bool)
    whole = _unhex("".join(texts), size * len(texts)) if set(map(len, texts)) <= {2 * size} else None
    if whole is None:
        each = [_unhex(text, size) for text in texts]
        sound = np.array([one is not None for one in each], bool)
        whole = b"".join(one or bytes(size) for one in each)
    return np.frombuffer(whole, np.uint8).reshape(-1, size), sound


def _unhex(digits: str, size: int) -> bytes | None:
    try:
        content = bytes.fromhex(digits)
    except ValueError:
        return None
    return content if len(content) == size and len(digits) == 2 * size else None  # fromhex ignores spaces
