"""Compares the fields of rows with the catalog's products."""

from __future__ import annotations

import json
import math
from itertools import compress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ingest.core import canonical_json, missing_numbers
from ingest.core.contract import DYNAMIC, IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.core.digest import row_digests
from ingest.core.records import ImageFile, Mismatch
from ingest.core.redaction import redact_text
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
"""In a collection of at most so many rows, all are compared."""
DRAWN = 20_000
"""In a larger one, so many rows."""
PAGE_ROWS = 8192
"""Rows read at once: Milvus Lite looks at every row of a collection for each page."""
PAGE_BYTES = 32 * 2**20
"""Most text in one page, by the catalog's lengths: Milvus refuses an answer of more than 100 MiB (maxOutputSize)."""
_LOOKUP_BATCH = 1024  # products
_SHOWN = 40  # characters of a value


def draw(rows: int, seed: int) -> NDArray[np.bool_]:
    """Return which of so many rows to compare, (rows,) bool: all of them, or a sample drawn with the seed."""
    if rows <= ALL_UP_TO:
        return np.ones(rows, bool)
    drawn = np.zeros(rows, bool)
    drawn[np.random.default_rng(seed).choice(rows, DRAWN, replace=False)] = True
    return drawn


class _SameDigest(NamedTuple):
    """A product whose row has its digest, 32 hex digits, and whether the row has its image's SHA-256 too."""

    image: ImageFile
    digest: str
    names_image: bool


class FieldComparison:
    """Compares those rows of an inventory that are `drawn`, (n,) bool, with the images that pass; `rows` counts them.

    A row with another image's SHA-256 than its digest covers is compared even if it is not drawn. A row whose digest
    differs from the product's is known to differ, and is not read. At most one page of products is in memory.
    """

    def __init__(self, collection: Collection, inventory: Inventory, drawn: NDArray[np.bool_]) -> None:
        self.rows = 0
        self.mismatches: list[Mismatch] = []
        self._collection = collection
        self._inventory = inventory
        self._drawn = drawn
        self._page: list[_SameDigest] = []
        self._bytes = 0

    def compare(self, records: Iterable[T]) -> Iterator[T]:
        """Yield every record, and compare the rows of the images among them."""
        for batch in batched(records, _LOOKUP_BATCH):
            for row in self._with_same_digest([record for record in batch if isinstance(record, ImageFile)]):
                size = writer.text_bytes(row.image.product)
                if len(self._page) == PAGE_ROWS or (self._page and self._bytes + size > PAGE_BYTES):
                    self._compare()
                self._page.append(row)
                self._bytes += size
            yield from batch
        self._compare()

    def _with_same_digest(self, images: list[ImageFile]) -> Iterator[_SameDigest]:
        """Yield the rows to compare: those with the product's digest."""
        inventory, fingerprint = self._inventory, self._collection.space.fingerprint
        found = inventory.find([image.product.product_id for image in images])
        rows = [
            (image, place, inventory.sha256(place) == image.sha256)
            for image, place in zip(images, found.tolist(), strict=True)
            if place != ABSENT
        ]
        rows = [
            (image, place, names_image) for image, place, names_image in rows if self._drawn[place] or not names_image
        ]
        metadata, shas = [image.product.metadata for image, _, _ in rows], [image.sha256 for image, _, _ in rows]
        digests = row_digests(metadata, shas, fingerprint)
        same = inventory.same(np.array([place for _, place, _ in rows], np.int64), digests)
        for (image, _, names_image), digest in compress(zip(rows, digests, strict=True), same):
            yield _SameDigest(image, digest.hex(), names_image)

    def _compare(self) -> None:
        page, self._page, self._bytes = self._page, [], 0
        if not page:
            return
        contract = self._collection.contract
        ids = [row.image.product.product_id for row in page]
        names = [ROW_DIGEST, *shown_fields(contract)]
        rows = {row[PRIMARY_KEY]: row for row in self._collection.find(ids, names)}
        for product_id, (image, digest, names_image) in zip(ids, page, strict=True):
            row = rows.get(product_id)
            if row is None or row[ROW_DIGEST] != digest:
                continue  # it has changed since
            self.rows += 1
            faults = [] if names_image else [f"{IMAGE_SHA256} is not {image.sha256.hex()}"]
            if faults := faults + differences(row, image.product.metadata, contract):
                self.mismatches.append(Mismatch("field", product_id, "; ".join(faults)))


def shown_fields(contract: Contract) -> list[str]:
    """Return the names of the fields to read of a row, to compare it with a product's metadata."""
    return [*(field.name for field in contract.fields), *([DYNAMIC] if contract.keeps_others else [])]


class FieldChange(NamedTuple):
    """A field whose value in a row differs from the catalog's; `old` and `new` are how the two are shown."""

    name: str
    old: str
    new: str


def differences(row: Mapping[str, Any], metadata: Mapping[str, Scalar], contract: Contract) -> list[str]:
    """Return how a row differs from a product's metadata, as `changes` does, in words."""
    return [f"{name} is {old}, not {new}" for name, old, new in changes(row, metadata, contract)]


def changes(row: Mapping[str, Any], metadata: Mapping[str, Scalar], contract: Contract) -> list[FieldChange]:
    """Return how a row as Milvus returns it differs from a product's metadata, field by field.

    FLOAT is compared as float32, a missing number equals NaN, and the dynamic field is compared as JSON.
    """
    stands_for = contract.missing
    missing = (
        name for name in stands_for if name in row and missing_numbers.from_stored(row[name], name, stands_for) is None
    )
    row = {**row, **dict.fromkeys(missing, math.nan)}
    typed = {field.name: field.type for field in contract.fields}
    own = {PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256, DYNAMIC, contract.index.field}
    others = metadata.keys() | row.keys() if contract.keeps_others else frozenset[str]()
    return [
        FieldChange(name, _shown(row, name, typed.get(name)), _shown(metadata, name, typed.get(name)))
        for name in [*typed, *sorted(others - typed.keys() - own)]
        if not _is_same(row, metadata, name, typed.get(name, DYNAMIC))
    ]


def _is_same(row: Mapping[str, Any], metadata: Mapping[str, Any], name: str, kind: str) -> bool:
    if name not in row or name not in metadata:
        return False
    stored, wanted = row[name], metadata[name]
    if kind in ("FLOAT", "DOUBLE"):
        width = np.float32 if kind == "FLOAT" else np.float64
        return _is_number(stored) and bool(np.array_equal(width(stored), width(wanted), equal_nan=True))
    if kind in ("INT64", "BOOL", "VARCHAR"):
        return type(stored) is type(wanted) and bool(stored == wanted)
    return canonical_json.encode({name: stored}) == canonical_json.encode({name: wanted})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool)


def _shown(values: Mapping[str, Any], name: str, kind: str | None) -> str:
    """Return a value as JSON in ASCII, so that nothing in it can control the terminal."""
    if name not in values:
        return "missing"
    value = values[name]
    if isinstance(value, float | np.floating):
        return "unknown" if math.isnan(value) else str(np.float32(value) if kind == "FLOAT" else float(value))
    text = json.dumps(redact_text(value) if isinstance(value, str) else value, default=str)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
