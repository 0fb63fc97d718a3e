"""What a collection holds, packed: id, digest, picture and fate of each row, in about 80 bytes and the id.

Strings in a dictionary would take three to four times as much. An id is known by 128 bits of Python's own hash, another
one in each process.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

ABSENT = -1
KEY_BYTES, DIGEST_BYTES, SHA256_BYTES = 16, 16, 32
_RECORD = np.dtype([("key", np.uint8, KEY_BYTES), ("digest", np.uint8, DIGEST_BYTES), ("sha", np.uint8, SHA256_BYTES)])
_HASHES = Struct("qq")
_BLOCK = 65_536  # ids taken apart at a time


class RowState(IntEnum):
    """What a pass over the catalog has found out about a row; GONE is where it starts."""

    GONE = 0
    SAME = 1
    PICTURE = 2
    METADATA = 3
    BOTH = 4
    FAILED = 5
    FOREIGN = 6
    DOUBLE = 7  # of an id that an earlier row has; it goes when that one is written anew


class Inventory:
    """Rows in the order they came, found by id."""

    def __init__(self) -> None:
        self._records = bytearray()
        self._names = bytearray()
        self._lengths = bytearray()
        self._prefixes = np.empty(0, np.uint64)
        self._order = np.empty(0, np.uint32)
        self._fates = bytearray()

    def __len__(self) -> int:
        return len(self._records) // _RECORD.itemsize

    def add(self, ids: Sequence[str], digests: Sequence[str], shas: Sequence[str]) -> None:
        """Append rows: `digests` 32 and `shas` 64 hex digits each; a row whose digest is something else is FOREIGN."""
        if not len(ids) == len(digests) == len(shas):
            raise ValueError(f"{len(ids)} ids, {len(digests)} digests, {len(shas)} pictures")
        rows = np.zeros(len(ids), _RECORD)
        rows["key"] = np.frombuffer(b"".join(map(key, ids)), np.uint8).reshape(-1, KEY_BYTES)
        rows["digest"], own = from_hex(digests, DIGEST_BYTES)
        rows["sha"], _ = from_hex(shas, SHA256_BYTES)
        names = [product_id.encode() for product_id in ids]
        self._records += rows.tobytes()
        self._names += b"".join(names)
        self._lengths += np.fromiter(map(len, names), np.uint16, len(names)).tobytes()
        self._fates += np.where(own, np.uint8(RowState.GONE), np.uint8(RowState.FOREIGN)).tobytes()

    @property
    def fates(self) -> NDArray[np.uint8]:
        """The fates, (n,) uint8, to be read and written to; not to be kept while rows are added."""
        return np.frombuffer(self._fates, np.uint8)

    def find(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """Return the place of each `key(product_id)`, or ABSENT."""
        found = np.full(len(keys), ABSENT, np.int64)
        if not keys or not len(self):
            return found
        if len(self._order) != len(self):
            self._sort()
        wanted = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
        prefixes = wanted[:, :8].copy().view(np.uint64).ravel()
        at = np.searchsorted(self._prefixes, prefixes)
        open_ = np.arange(len(keys))
        there = self._array["key"]
        # Keys that share their first 8 bytes stand side by side: look at each until the prefix ends.
        while len(open_ := open_[at[open_] < len(self._order)]):
            open_ = open_[self._prefixes[at[open_]] == prefixes[open_]]
            places = self._order[at[open_]]
            same = (there[places] == wanted[open_]).all(axis=1)
            found[open_[same]] = places[same]
            open_ = open_[~same]
            at[open_] += 1
        return found

    def same(self, places: NDArray[np.int64], digests: Sequence[bytes]) -> NDArray[np.bool_]:
        """Tell for each place, or ABSENT, whether a row is there that ingest wrote and that has this digest."""
        there: NDArray[np.bool_] = places != ABSENT
        if not there.any():
            return there
        wanted = np.frombuffer(b"".join(digests), np.uint64).reshape(-1, DIGEST_BYTES // 8)
        at = places[there]
        equal = (self._array["digest"][at].view(np.uint64) == wanted[there]).all(axis=1)
        there[there] = equal & (self.fates[at] != RowState.FOREIGN)
        return there

    def digest(self, place: int) -> str:
        """Return a row's digest, 32 hex digits."""
        return bytes(self._array["digest"][place]).hex()

    def sha256(self, place: int) -> bytes:
        """Return the SHA-256 of the picture a row was made from."""
        return bytes(self._array["sha"][place])

    def distrust(self, places: NDArray[np.int64]) -> None:
        """Forget the digests at these places, so that no row there counts as being as it should."""
        self._array["digest"][places] = 0

    def count(self, *fates: RowState) -> int:
        """Count the rows of any of these fates."""
        return int(np.isin(self.fates, list(fates)).sum())

    def ids(self, fates: Collection[RowState]) -> Iterator[tuple[str, RowState]]:
        """Yield (product id, fate) of the rows with one of `fates`, in the order they came."""
        mask = np.isin(self.fates, list(fates))
        for product_id, fate in zip(self.where(mask), self.fates[mask].tolist(), strict=True):
            yield product_id, RowState(fate)

    def where(self, mask: NDArray[np.bool_]) -> Iterator[str]:
        """Yield the product ids of the rows that `mask`, (n,) bool, has."""
        start = 0
        for block in range(0, len(self), _BLOCK):
            lengths = np.frombuffer(self._lengths, np.uint16)[block : block + _BLOCK].tolist()
            for length, wanted in zip(lengths, mask[block : block + _BLOCK].tolist(), strict=True):
                if wanted:
                    yield self._names[start : start + length].decode()
                start += length

    def settle_doubled(self) -> None:
        """Trust no row whose id another one has: the first is to be written anew, which takes the place of them all.

        A killed Milvus Lite leaves such rows, and so do some servers (milvus-io/milvus #44320). To delete one as
        gone would delete its product.
        """
        self._sort()
        alike = np.flatnonzero(self._prefixes[1:] == self._prefixes[:-1]) + 1
        for place in self._order[alike].tolist():
            first = int(self.find([bytes(self._array["key"][place])])[0])
            if first == place:
                continue  # its id differs after the first 8 bytes
            if RowState.FOREIGN in (self.fates[first], self.fates[place]):
                self.fates[[first, place]] = RowState.FOREIGN
            else:
                self.fates[place] = RowState.DOUBLE
                self.distrust(np.array([first]))

    def doubled(self) -> int:
        """Count the rows whose id another row has as well."""
        if not len(self):
            return 0
        self._sort()
        keys = self._array["key"][self._order].view(np.dtype((np.void, KEY_BYTES))).ravel()
        return len(keys) - len(np.unique(keys))

    @property
    def _array(self) -> NDArray[np.void]:
        return np.frombuffer(self._records, _RECORD)

    def _sort(self) -> None:
        prefixes = self._array["key"][:, :8].copy().view(np.uint64).ravel()
        self._order = np.argsort(prefixes, kind="stable").astype(np.uint32)
        self._prefixes = prefixes[self._order]


def key(product_id: str) -> bytes:
    """Return the 16 bytes an id is known by, in this process."""
    # SipHash of two texts. BLAKE2b would take thrice as long, and a nightly run asks twice for each product.
    return _HASHES.pack(hash(product_id), hash(f"\0{product_id}"))


def from_hex(texts: Sequence[str], size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return hex digits as (n, size) uint8, zero where a text is not that, and (n,) bool: whether it is."""
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
    return content if len(content) == size and len(digits) == 2 * size else None  # it skips spaces
