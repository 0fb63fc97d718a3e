"""Compares what rows hold in their fields with what the catalog says of their products."""

from __future__ import annotations

import json
import math
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ingest.core import canonical_json, missing_numbers
from ingest.core.contract import DYNAMIC, IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST, row_digests
from ingest.core.records import ImageFile, Mismatch
from ingest.milvus import writer
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.parallel import batched

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeVar

    from numpy.typing import NDArray

    from ingest.core.contract import Contract
    from ingest.core.records import Scalar
    from ingest.milvus.collection import Collection
    from ingest.sync.inventory import Inventory

    T = TypeVar("T")

ALL_UP_TO = 200_000
"""Rows of a collection that are all compared."""
DRAWN = 20_000
"""Rows compared in a larger one."""
PAGE_ROWS = 8192
"""Rows read at once: Milvus Lite looks at every row of a collection for each page."""
PAGE_BYTES = 32 * 2**20
"""What their text may take, as the catalog has it: Milvus refuses an answer of more than 100 MiB (maxOutputSize)."""
_LOOKED_UP = 1024  # products
_SHOWN = 40  # characters of a value


def draw(rows: int, seed: int) -> NDArray[np.bool_]:
    """Return which of so many rows to compare, (rows,) bool: all of them, or a sample that the seed decides."""
    if rows <= ALL_UP_TO:
        return np.ones(rows, bool)
    drawn = np.zeros(rows, bool)
    drawn[np.random.default_rng(seed).choice(rows, DRAWN, replace=False)] = True
    return drawn


class _Alike(NamedTuple):
    """A product whose row has its digest, 32 hex digits, and whether the row names its image's SHA-256 too."""

    picture: ImageFile
    digest: str
    names_image: bool


class FieldComparison:
    """Compares the rows of `there` that are `drawn`, (n,) bool, with the images that pass; `rows` counts them.

    So are rows that name another image than their digest is of, drawn or not. A row with another digest than the
    product's is known to differ, and is not read. At most one page of products is in memory.
    """

    def __init__(self, collection: Collection, there: Inventory, drawn: NDArray[np.bool_]) -> None:
        self.rows = 0
        self.differing: list[Mismatch] = []
        self._collection = collection
        self._there = there
        self._drawn = drawn
        self._page: list[_Alike] = []
        self._bytes = 0

    def passing(self, records: Iterable[T]) -> Iterator[T]:
        """Pass every record on, and compare the rows of the images among them."""
        for batch in batched(records, _LOOKED_UP):
            for row in self._alike([record for record in batch if isinstance(record, ImageFile)]):
                size = writer.text_bytes(row.picture.product)
                if len(self._page) == PAGE_ROWS or (self._page and self._bytes + size > PAGE_BYTES):
                    self._compare()
                self._page.append(row)
                self._bytes += size
            yield from batch
        self._compare()

    def _alike(self, pictures: list[ImageFile]) -> Iterator[_Alike]:
        """Yield the rows to compare, of those whose digest is the product's."""
        there, fingerprint = self._there, self._collection.space.fingerprint
        found = there.find([picture.product.product_id for picture in pictures])
        rows = [
            (picture, place, there.sha256(place) == picture.sha256)
            for picture, place in zip(pictures, found.tolist(), strict=True)
            if place != ABSENT
        ]
        rows = [row for row in rows if self._drawn[row[1]] or not row[2]]
        metadata, shas = [row[0].product.metadata for row in rows], [row[0].sha256 for row in rows]
        digests = row_digests(metadata, shas, fingerprint)
        same = there.same(np.array([row[1] for row in rows], np.int64), digests)
        for (picture, _, names_image), digest in compress(zip(rows, digests, strict=True), same):
            yield _Alike(picture, digest.hex(), names_image)

    def _compare(self) -> None:
        page, self._page, self._bytes = self._page, [], 0
        if not page:
            return
        contract = self._collection.contract
        ids = [alike.picture.product.product_id for alike in page]
        names = [ROW_DIGEST, *(field.name for field in contract.fields), *([DYNAMIC] if contract.keeps_others else [])]
        rows = {row[PRIMARY_KEY]: row for row in self._collection.matching(ids, names)}
        for product_id, (picture, digest, names_image) in zip(ids, page, strict=True):
            row = rows.get(product_id)
            if row is None or row[ROW_DIGEST] != digest:
                continue  # it has changed since
            self.rows += 1
            faults = [] if names_image else [f"{IMAGE_SHA256} is not {picture.sha256.hex()}"]
            if faults := faults + differences(row, picture.product.metadata, contract):
                self.differing.append(Mismatch("field", product_id, "; ".join(faults)))


def differences(row: Mapping[str, Any], metadata: Mapping[str, Scalar], contract: Contract) -> list[str]:
    """Return how a row as Milvus gives it differs from a product's metadata, field by field.

    FLOAT is compared as float32, a missing number equals NaN, and what is in the dynamic field is compared as JSON.
    """
    kept = contract.missing
    row = {
        **row,
        **{
            name: math.nan
            for name in kept
            if name in row and missing_numbers.from_stored(row[name], name, kept) is None
        },
    }
    typed = {field.name: field.type for field in contract.fields}
    own = {PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256, DYNAMIC, contract.index.field}
    others = metadata.keys() | row.keys() if contract.keeps_others else frozenset[str]()
    return [
        f"{name} is {_shown(row, name, typed.get(name))}, not {_shown(metadata, name, typed.get(name))}"
        for name in [*typed, *sorted(others - typed.keys() - own)]
        if not _is_same(row, metadata, name, typed.get(name, DYNAMIC))
    ]


def _is_same(row: Mapping[str, Any], metadata: Mapping[str, Any], name: str, kind: str) -> bool:
    if name not in row or name not in metadata:
        return False
    there, wanted = row[name], metadata[name]
    if kind in ("FLOAT", "DOUBLE"):
        width = np.float32 if kind == "FLOAT" else np.float64
        return _is_number(there) and bool(np.array_equal(width(there), width(wanted), equal_nan=True))
    if kind in ("INT64", "BOOL", "VARCHAR"):
        return type(there) is type(wanted) and bool(there == wanted)
    return canonical_json.encode({name: there}) == canonical_json.encode({name: wanted})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool)


def _shown(values: Mapping[str, Any], name: str, kind: str | None) -> str:
    """Return a value as JSON in ASCII, so that nothing in it can reach the terminal."""
    if name not in values:
        return "missing"
    value = values[name]
    if isinstance(value, float | np.floating):
        return "unknown" if math.isnan(value) else str(np.float32(value) if kind == "FLOAT" else float(value))
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
