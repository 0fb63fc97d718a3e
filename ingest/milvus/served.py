"""The collection that the alias serves, read by the contract that it carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core import carried_properties, missing_numbers
from ingest.core.contract import DYNAMIC, HIGH_WATER, IMAGE_SHA256, PRIMARY_KEY, PROPERTY, ROW_DIGEST
from ingest.milvus import pages
from ingest.sync.high_water import HighWater

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.milvus.connection import Connection


class ServedCollection:
    """A collection that ingest built, by any contract; the alias serves it when a run begins.

    `fingerprint` is that of its embedding space, "" if the collection does not say. `high_water` is what its property
    says.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.name = name
        described = connection.call("describe the collection", connection.client.describe_collection, name)
        found = described.get("properties", {})
        contract = carried_properties.read_contract(str(found.get(PROPERTY, "")))
        fields, missing = contract.get("fields"), contract.get("missing")
        self.high_water = HighWater.parse(str(found.get(HIGH_WATER, "")))
        self.fingerprint = str(contract.get("fingerprint", ""))
        self.vector_field = str(contract.get("vector_field", "embedding"))
        self._fields = [str(name) for name in fields] if isinstance(fields, dict) else []
        self._dynamic = [DYNAMIC] if described.get("enable_dynamic_field") else []
        self._missing: dict[str, Any] = missing if isinstance(missing, dict) else {}

    def rows(self) -> Iterator[list[dict[str, str]]]:
        """Yield all rows' product_id, row_digest and image_sha256, thousands at a time."""
        return pages.pages(self.connection, self.name, [PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256], "Strong")

    def vectors(self, product_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of those products that have a row, whoever wrote it."""
        found = self._find(product_ids, [self.vector_field]) if product_ids else []
        return {row[PRIMARY_KEY]: np.asarray(row[self.vector_field], np.float32) for row in found}

    def values(self, product_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return, by id, the existing rows of these products without their vectors; None is a missing number."""
        found = self._find(product_ids, [ROW_DIGEST, IMAGE_SHA256, *self._fields, *self._dynamic])
        return {
            row[PRIMARY_KEY]: {name: missing_numbers.from_stored(row[name], name, self._missing) for name in row}
            for row in found
        }

    def _find(self, product_ids: Sequence[str], fields: list[str]) -> list[dict[str, Any]]:
        return pages.rows(self.connection, self.name, product_ids, fields, "Strong")
