"""Rows of the served collection that go into the one that replaces it: their vectors, and the fields that it has.

A product that fails today, or has left the catalog and may not be pruned, has no row in a collection that this run
fills from the catalog. Apps find its last good row, and shall go on to.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.catalog.rows import Columns
from ingest.catalog.validation import InvalidRowError, refit, row_rules
from ingest.core.contract import DYNAMIC, IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.core.records import Embedded, Product
from ingest.milvus import writer
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.parallel import batched
from ingest.sync.inventory import SHA256_BYTES, Inventory, from_hex
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Collection as States
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest.core.records import Scalar
    from ingest.core.settings import Settings
    from ingest.milvus.collection import Collection
    from ingest.milvus.served import ServedCollection
    from ingest.store.base import EmbeddingStore

_BLOCK = 1000  # rows read at once
_FOREIGN_BLOCK = 100
"""Rows that ingest did not write, at once: so few fit into a message, whatever their texts."""


class CarryOver:
    """Carries rows of `served`, whose inventory is `rows` with settled states, into a collection that has `inventory`.

    Rows are read again where they are written, so that memory holds one block of them.
    """

    def __init__(
        self,
        served: ServedCollection,
        rows: Inventory,
        collection: Collection,
        inventory: Inventory,
        settings: Settings,
    ) -> None:
        self._served = served
        self._rows = rows
        self._collection = collection
        self._inventory = inventory
        columns = Columns.of(settings)
        self._rules = row_rules(collection.contract, columns)
        own = {PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256, DYNAMIC, collection.contract.index.field}
        self._own = own | {served.vector_field}

    def find(self, left_out: States[RowState]) -> NDArray[np.bool_]:
        """Return which of the served rows can be carried over, (n,) bool; those in states `left_out` are not wanted.

        A row that the collection has from an earlier try, with the same digest, need not be carried again. Where it has
        an older one, apps go on to find the newer. None can be carried from another embedding space.
        """
        mask = np.zeros(len(self._rows), bool)
        if self._served.fingerprint != self._collection.space.fingerprint:
            return mask
        wanted = {RowState.GONE, RowState.FAILED, RowState.FOREIGN} - set(left_out)
        for block in batched(self._rows.where(np.isin(self._rows.states, list(wanted))), _BLOCK):
            lacking = list(compress(block, self._is_lacking(block)))
            products = self._products(lacking) if lacking else {}
            mask[self._rows.find(list(products))] = True
        return mask

    def write(self, mask: NDArray[np.bool_], store: EmbeddingStore) -> Iterator[list[Embedded]]:
        """Write the rows selected by a mask of `find`; yield those that ingest wrote when they are acknowledged."""
        ours = self._rows.states != RowState.FOREIGN
        for ids in batched(self._rows.where(mask & ours), _BLOCK):
            records = [record for record, _ in self._records(ids, store)]
            yield [record for record in writer.upsert(records, self._collection) if isinstance(record, Embedded)]
        for ids in batched(self._rows.where(mask & ~ours), _FOREIGN_BLOCK):
            if found := list(self._records(ids, None)):
                writer.write([record for record, _ in found], [digest for _, digest in found], self._collection)

    def _is_lacking(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these served rows the collection lacks, or has an older one of, (n,) bool."""
        inventory, rows = self._inventory, self._rows
        at, own = inventory.find(ids), rows.find(ids)
        lacking: NDArray[np.bool_] = at == ABSENT
        both = ~lacking
        at, own = at[both], own[both]
        is_foreign = (inventory.states[at] == RowState.FOREIGN) | (rows.states[own] == RowState.FOREIGN)
        lacking[both] = ~is_foreign & ~inventory.has_digests(at, rows, own)
        return lacking

    def _products(self, ids: Sequence[str]) -> dict[str, tuple[Product, str, str]]:
        """Return by id the product that each row stands for, its row digest and its image's SHA-256, if it fits."""
        found = {}
        for product_id, values in self._served.values(ids).items():
            try:
                metadata = self._fields(product_id, values)
            except InvalidRowError:
                continue
            product = Product(product_id, str(values.get("image") or ""), metadata, 0)
            found[product_id] = product, str(values[ROW_DIGEST] or ""), str(values[IMAGE_SHA256] or "")
        return found

    def _fields(self, product_id: str, values: Mapping[str, Any]) -> dict[str, Scalar]:
        return refit(product_id, {name: value for name, value in values.items() if name not in self._own}, self._rules)

    def _records(self, ids: Sequence[str], store: EmbeddingStore | None) -> Iterator[tuple[Embedded, str]]:
        """Yield each row with its vector, from the store if that is given and has it, and its row digest."""
        products = self._products(ids)
        images, is_valid = from_hex([sha for _, _, sha in products.values()], SHA256_BYTES)
        keys = [image.tobytes() for image in images]
        stored = dict(zip(products, store.find(keys) if store else [None] * len(keys), strict=True))
        found = self._served.vectors([product_id for product_id, vector in stored.items() if vector is None])
        for (product_id, (product, digest, _)), key, valid in zip(products.items(), keys, is_valid, strict=True):
            vector = found.get(product_id) if stored[product_id] is None else stored[product_id]
            if vector is not None:  # None if the row has been deleted since
                yield Embedded(product, key if valid else b"", vector, stored=True), digest
