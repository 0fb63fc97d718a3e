"""Which fields a run would change in the rows of a collection, with the old and the new value of each."""

from __future__ import annotations

import csv
import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ingest.core import escape
from ingest.core.contract import PRIMARY_KEY
from ingest.milvus import field_checks
from ingest.runtime.parallel import batched

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ingest.core.records import Decoded, Embedded, Product
    from ingest.milvus.collection import Collection
    from ingest.milvus.field_checks import FieldChange
    from ingest.sync.diff import CollectionDiff

_READ = 128  # rows read at once; the pixels of as many images are in memory meanwhile
_WITH_FIELDS = frozenset({"metadata", "both"})


class FieldChanges:
    """Reads the rows of products whose metadata changes; `counts` are the products by changed field.

    The changes are in `path` as JSON, a line for each field, in the order of the products.
    """

    def __init__(self, path: Path, collection: Collection | None, difference: CollectionDiff) -> None:
        self.path = path
        self.counts: Counter[str] = Counter()
        self._collection = collection
        self._difference = difference

    def compare(self, records: Iterable[Decoded | Embedded]) -> Iterator[Decoded | Embedded]:
        """Yield every record, and write down what changes in the rows of their products."""
        with self.path.open("w", encoding="utf-8") as file:
            for batch in batched(records, _READ):
                for product_id, changes in self._read([record.product for record in batch]):
                    self.counts.update(change.name for change in changes)
                    file.writelines(f"{json.dumps((product_id, *change))}\n" for change in changes)
                yield from batch

    def _read(self, products: list[Product]) -> Iterator[tuple[str, list[FieldChange]]]:
        """Yield the changes of those products whose metadata changes."""
        kind = self._difference.kind
        changed = {product.product_id: product for product in products if kind(product.product_id) in _WITH_FIELDS}
        if self._collection is None or not changed:
            return
        contract = self._collection.contract
        rows = self._collection.find(list(changed), field_checks.shown_fields(contract))
        by_id = {row[PRIMARY_KEY]: row for row in rows}
        for product_id, product in changed.items():
            if product_id in by_id:
                yield product_id, field_checks.changes(by_id[product_id], product.metadata, contract)


class PlannedChange(NamedTuple):
    """What a run would do to a product, and which fields of its row it would change."""

    product_id: str
    change: str
    fields: list[FieldChange]


def read_changes(table: Path, path: Path) -> Iterator[PlannedChange]:
    """Yield the rows of a report's table of changes, each with its lines of a file of field changes."""
    rows = read(path)
    waiting = next(rows, None)
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            fields = []
            while waiting is not None and escape.csv_id(waiting[0]) == row["product_id"]:
                fields.append(waiting[1])
                waiting = next(rows, None)
            yield PlannedChange(row["product_id"], row["change"], fields)


def read(path: Path) -> Iterator[tuple[str, FieldChange]]:
    """Yield the product id and the change of each line of such a file."""
    with path.open(encoding="utf-8") as file:
        for product_id, *change in map(json.loads, file):
            yield product_id, field_checks.FieldChange(*change)
