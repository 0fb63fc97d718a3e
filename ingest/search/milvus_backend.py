"""Searches the collection that the alias serves, and reads its products by id."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core import contract as contracts
from ingest.core import contract_file, missing_numbers, search_ef
from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY
from ingest.core.errors import MilvusError, ModelError, QueryError
from ingest.milvus import filters, pages, properties, vector_search
from ingest.milvus.alias import alias_target
from ingest.milvus.connection import CALL_TIMEOUT_S, connect
from ingest.milvus.loading import check_loaded
from ingest.runtime.parallel import batched
from ingest.search import fold
from ingest.search.backend import Hit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest.core.contract import Space
    from ingest.core.records import Scalar
    from ingest.core.settings import Settings
    from ingest.milvus.connection import Connection
    from ingest.search.fold import Key

MAX_LIMIT = 16_384
"""Milvus returns at most so many hits for a vector (https://milvus.io/docs/limitations.md)."""
_CALL_HITS = 16_384  # in one call: with their metadata some 10 MB, of 64 that a message may have
_CALL_PRODUCTS = 1_000  # read in one call
_DYNAMIC = "$meta"
_LOOKED_AT = 100  # rows, for the type of a column outside of the contract
_HIDDEN = frozenset({contracts.ROW_DIGEST, IMAGE_SHA256, PRIMARY_KEY, _DYNAMIC})


@contextmanager
def open_collection(settings: Settings, *, reading: bool = False) -> Iterator[SearchableCollection]:
    """Connect as the settings say, and open what the contract's alias serves; `reading` as in `connect`."""
    alias = contract_file.load(settings.schema).alias
    with connect(settings.milvus, existing=True, reading=reading) as connection:
        yield SearchableCollection(connection, alias)


@dataclass(frozen=True, slots=True)
class StoredProduct:
    """A product as stored in the collection: `vector` is (dim,) float32 of unit length."""

    product_id: str
    vector: NDArray[np.float32]
    metadata: Mapping[str, Scalar | None]
    image_sha256: str


class SearchableCollection:
    """The collection that the alias serves now, and the contract it carries; for any number of threads.

    It stays with that collection if the alias moves; `is_current` says whether it has.
    """

    def __init__(self, connection: Connection, alias: str) -> None:
        """Look it up; raises MilvusError if there is none, ingest did not build it, or it is not loaded."""
        self._connection = connection
        self.alias = alias
        name = alias_target(connection, alias)
        if name is None:
            raise MilvusError(f"Milvus at {connection.shown}: no alias {alias} yet; create it with: ingest run")
        self.name = name
        description = connection.call("describe the collection", connection.client.describe_collection, name)
        self.contract = properties.contract_of_served(connection, alias, name, description)
        self.missing: dict[str, float | None] = self.contract.get("missing", {})
        """How the collection keeps missing numbers that are not NaN, as in `contract.Contract`."""
        self.keeps_others = bool(description.get("enable_dynamic_field"))
        check_loaded(connection, name)
        field = self.contract["vector_field"]
        indexed = connection.call("describe the index", connection.client.describe_index, name, field) is not None
        self.is_exact = connection.is_lite and not indexed
        """Whether a query is compared with every product, so that ef changes nothing."""
        self._filters_late = connection.is_lite and indexed  # built by an older ingest, which indexed there

    @property
    def fields(self) -> dict[str, str]:
        """The metadata fields that the contract names, and their types."""
        return dict(self.contract["fields"])

    @property
    def ef(self) -> int:
        """The contract's ef: how many candidates a search looks at, at least."""
        return int(self.contract["ef"])

    @property
    def group(self) -> str:
        """The field whose value products of one item share; "" if the contract names none."""
        return str(self.contract.get("group") or "")

    def is_current(self) -> bool:
        """Return whether the alias still serves this collection."""
        return alias_target(self._connection, self.alias) == self.name

    def count(self) -> int:
        """Count the rows."""
        answer = self._read("count the rows", "", ["count(*)"])
        return int(answer[0]["count(*)"])

    def check(self, space: Space) -> None:
        """Raise ModelError if `space` is not the collection's: scores across spaces mean nothing."""
        if self.contract["fingerprint"] != space.fingerprint:
            raise ModelError(
                f"the collection behind {self.alias} was built with {self.contract['model']} "
                f"({self.contract['revision'][:19]}), not with {space.model} ({space.revision[:19]}); "
                "pass that one with --model, or rebuild with: ingest run"
            )

    def products(self, product_ids: Sequence[str]) -> dict[str, StoredProduct]:
        """Return the products by id, in the given order; raises QueryError if one is missing."""
        found: dict[str, StoredProduct] = {}
        field = self.contract["vector_field"]
        for names in batched(dict.fromkeys(product_ids), _CALL_PRODUCTS):
            for row in pages.rows(self._connection, self.name, names, self._output_fields(field)):
                product_id = str(row[PRIMARY_KEY])
                vector = np.asarray(row[field], np.float32)
                found[product_id] = StoredProduct(product_id, vector, self._metadata(row), str(row[IMAGE_SHA256]))
        if missing := [name for name in product_ids if name not in found]:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise QueryError(f"no product {missing[0]}{more} in the collection behind {self.alias}")
        return {name: found[name] for name in product_ids}

    def vectors(self, product_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the products' unit vectors by id; raises QueryError if one is missing."""
        return {name: product.vector for name, product in self.products(product_ids).items()}

    def columns(self) -> Iterator[tuple[str, dict[str, Scalar | None]]]:
        """Yield each field of the contract with every product's value, by id; one in memory at a time."""
        for name in self.fields:
            yield name, self.values(name)

    def values(self, field: str) -> dict[str, Scalar | None]:
        """Return every product's value of a metadata field, by id; None if it has none."""
        fields = [PRIMARY_KEY, field if field in self.contract["fields"] else _DYNAMIC]
        if not self.keeps_others and field not in self.contract["fields"]:
            raise QueryError(f"{field} is not a field of the collection{filters.suggest(field, self.fields)}")
        rows = pages.pages(self._connection, self.name, fields, "Bounded")
        return {str(row[PRIMARY_KEY]): self._known(row.get(field), field) for batch in rows for row in batch}

    def save_ef(self, ef: int) -> None:
        """Write a measured `ef` into the contract that the collection carries, for every app that reads it."""
        self.contract = search_ef.add_measured(self.contract, ef)
        carried = {contracts.PROPERTY: json.dumps(self.contract, ensure_ascii=True)}
        properties.set_properties(self._connection, self.name, carried)

    def search(
        self, vector: NDArray[np.float32], limit: int, expression: str = "", without: Collection[str] = ()
    ) -> list[Hit]:
        """Return the `limit` products nearest to a unit vector, (dim,) float32, best first.

        `expression` is a Milvus filter; `without` are ids to leave out. Raises QueryError for a filter that Milvus
        cannot parse, or with a field that no product can have.
        """
        return self.searches([vector], limit, expression, without)[0]

    def searches(
        self,
        vectors: Sequence[NDArray[np.float32]],
        limit: int,
        expression: str = "",
        without: Collection[str] = (),
        without_images: Collection[str] = (),
    ) -> list[list[Hit]]:
        """Return what `search` does for each of several vectors.

        `without_images` are SHA-256 in hex: products with such an image are left out. If the contract has a `group`,
        one product of each item is named, and none of the items of products to leave out.
        """
        group, limit = self.group, min(limit, MAX_LIMIT)
        if not group:
            return self.nearest(vectors, limit, expression, without, without_images)
        taken = {fold.key_of(hit, group) for hit in self._stored(without)}
        rest = filters.not_among(group, fold.values_of(taken, group))

        def ask(some: Sequence[NDArray[np.float32]], count: int, keys: Sequence[Key]) -> list[list[Hit]]:
            others = filters.not_among(group, fold.values_of(keys, group))
            ids = [*without, *map(str, fold.values_of(keys, ""))]
            return self.nearest(some, count, expression, ids, without_images, beside=filters.all_of(rest, others))

        asked = min(fold.first_count(limit), MAX_LIMIT)
        answers = zip(vectors, ask(vectors, asked, ()), strict=True)
        return [fold.fold(hits, asked, limit, MAX_LIMIT, group, _alone(ask, vector)) for vector, hits in answers]

    def nearest(
        self,
        vectors: Sequence[NDArray[np.float32]],
        limit: int,
        expression: str = "",
        without: Collection[str] = (),
        without_images: Collection[str] = (),
        ef: int | None = None,
        beside: str = "",
    ) -> list[list[Hit]]:
        """Return for each vector the `limit` nearest rows, whatever item they are of, as `searches` does otherwise.

        `ef` is the contract's if None; `beside` is a filter that is not the user's.
        """
        self._check_filter(expression)
        complete = filters.all_of(
            expression, filters.not_among(PRIMARY_KEY, without), filters.not_among(IMAGE_SHA256, without_images), beside
        )
        limit = min(limit, MAX_LIMIT)
        hits: list[list[Hit]] = []
        for some in batched(vectors, max(1, _CALL_HITS // limit)):
            try:
                options = self._options(limit, complete, ef or self.ef)
                answer = vector_search.search_in_halves(self._connection, self.name, some, **options)
            except MilvusError as error:
                if not expression:
                    raise
                # If this succeeds, the filter is at fault, whatever the server says.
                vector_search.search(self._connection, self.name, some[:1], **self._options(1, "", self.ef))
                said = str(error).partition(": cannot search: ")[2] or str(error)
                why = filters.explain(expression, self.fields) or f"{said}; fields: {self._list_fields()}"
                raise QueryError(f"the filter {expression!r}: {why}") from error
            hits += [[self._hit(hit) for hit in found] for found in answer]
        return hits

    def _stored(self, product_ids: Collection[str]) -> list[Hit]:
        """Return products that exist as hits, to be folded as such."""
        rows = pages.rows(self._connection, self.name, list(product_ids), self._output_fields()) if product_ids else ()
        return [Hit(str(row[PRIMARY_KEY]), 0.0, self._metadata(row)) for row in rows]

    def unknown_names(self, expression: str) -> list[str]:
        """Return the names in a filter that are no field of the contract: other catalog columns, or mistakes."""
        own = {PRIMARY_KEY, contracts.ROW_DIGEST, IMAGE_SHA256, self.contract["vector_field"], _DYNAMIC}
        return [name for name in filters.names(expression) if name not in own and name not in self.contract["fields"]]

    def text_columns(self, names: Collection[str]) -> list[str]:
        """Return those of these columns outside of the contract that the first rows have as texts."""
        if not self.keeps_others or not names:
            return []
        answer = self._connection.call(
            "look at some rows", self._connection.client.query, self.name, filter="", output_fields=[_DYNAMIC],
            limit=_LOOKED_AT, timeout=CALL_TIMEOUT_S,
        )  # fmt: skip
        return [name for name in names if any(isinstance(row.get(name), str) for row in answer)]

    def _check_filter(self, expression: str) -> None:
        """Raise QueryError for a field that no product can have; with other columns kept, Milvus takes any name."""
        if self.keeps_others:
            return
        if unknown := self.unknown_names(expression):
            raise QueryError(
                f"the filter {expression!r}: {unknown[0]} is not a field of the collection"
                f"{filters.suggest(unknown[0], self.fields)}; fields: {self._list_fields()}"
            )

    def _list_fields(self) -> str:
        return ", ".join(f"{name} ({kind})" for name, kind in self.fields.items())

    def _options(self, limit: int, expression: str, ef: int) -> dict[str, Any]:
        ef = vector_search.effective_ef(ef, limit, filters_late=self._filters_late)
        field = self.contract["vector_field"]
        names = self._output_fields()
        return {"field": field, "limit": limit, "expression": expression, "output_fields": names, "ef": ef}

    def _read(self, doing: str, expression: str, fields: list[str]) -> list[dict[str, Any]]:
        client = self._connection.client
        rows: list[dict[str, Any]] = self._connection.call(
            doing, client.query, self.name, filter=expression, output_fields=fields, timeout=CALL_TIMEOUT_S
        )
        return rows

    def _output_fields(self, *more: str) -> list[str]:
        return [*self.contract["fields"], IMAGE_SHA256, *([_DYNAMIC] if self.keeps_others else []), *more]

    def _hit(self, hit: Any) -> Hit:
        entity = hit["entity"]
        return Hit(str(hit.pk), float(hit["distance"]), self._metadata(entity), str(entity.get(IMAGE_SHA256, "")))

    def _metadata(self, entity: Mapping[str, Any]) -> dict[str, Scalar | None]:
        """Return what apps show of a row, the contract's fields first; a missing number is None."""
        order = list(self.contract["fields"])
        names = [*order, *sorted(entity.keys() - set(order) - _HIDDEN - {self.contract["vector_field"]})]
        return {name: self._known(entity[name], name) for name in names if name in entity}

    def _known(self, value: Any, name: str) -> Scalar | None:
        found: Scalar | None = missing_numbers.from_stored(value, name, self.missing)
        return found


def _alone(
    ask: Callable[[Sequence[NDArray[np.float32]], int, Sequence[Key]], list[list[Hit]]], vector: NDArray[np.float32]
) -> Callable[[int, Sequence[Key]], list[Hit]]:
    return lambda count, keys: ask([vector], count, keys)[0]
