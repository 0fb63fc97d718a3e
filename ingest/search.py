"""Ask the collection, or the FAISS files, for products like a text, a picture, or another product."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest import contract as contracts
from ingest.contract import PRIMARY_KEY
from ingest.errors import MilvusError, ModelError, QueryError
from ingest.sinks import faiss
from ingest.sinks.milvus.connection import CALL_TIMEOUT_S
from ingest.sinks.milvus.releases import alias_target, load
from ingest.store import arrays

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.contract import Space
    from ingest.embedding.clip import ClipEncoder
    from ingest.embedding.preprocess import Preprocessing
    from ingest.records import Scalar
    from ingest.sinks.milvus.connection import Connection

MAX_LIMIT = 16_384
"""The most hits a Milvus search returns (https://milvus.io/docs/limitations.md)."""
_HIDDEN = frozenset({contracts.ROW_DIGEST, contracts.IMAGE_SHA256, PRIMARY_KEY})


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer: `score` is the inner product of unit vectors, their cosine, at most 1."""

    product_id: str
    score: float
    metadata: Mapping[str, Scalar | None]


def text_vector(encoder: ClipEncoder, text: str) -> NDArray[np.float32]:
    """Return the unit vector of a text, (dim,) float32."""
    if not text.strip():
        raise QueryError("the text to search for is empty")
    return _one(encoder.texts([text]), "the text")


def image_vector(encoder: ClipEncoder, preprocessing: Preprocessing, path: Path) -> NDArray[np.float32]:
    """Return the unit vector of a picture file, (dim,) float32; raises QueryError where it cannot be decoded."""
    from ingest.images.decode import UndecodableError, open_rgb

    if not path.is_file():
        raise QueryError(f"{path}: no such file; --image takes the path of a picture")
    try:
        pixels = preprocessing(open_rgb(path))
    except UndecodableError as error:
        raise QueryError(f"{path}: {error.detail}") from error
    except OSError as error:
        raise QueryError(f"{path}: cannot be read ({error.strerror})") from error
    return _one(encoder.images(np.stack([pixels])), str(path))


class Served:
    """The collection that the alias serves now, and the contract it carries."""

    def __init__(self, connection: Connection, alias: str) -> None:
        """Find it; raises MilvusError where the alias serves nothing, or nothing that ingest built."""
        self._connection = connection
        self._alias = alias
        name = alias_target(connection, alias)
        if name is None:
            raise MilvusError(f"Milvus at {connection.shown}: no alias {alias} yet; fill it with: ingest run")
        description = connection.call("describe the collection", connection.client.describe_collection, name)
        try:
            self.contract: dict[str, Any] = json.loads(description["properties"][contracts.PROPERTY])
        except (KeyError, ValueError) as error:
            raise MilvusError(
                f"Milvus at {connection.shown}: {name} carries no {contracts.PROPERTY}; it was not built by ingest"
            ) from error
        self._dynamic = bool(description.get("enable_dynamic_field"))
        # A Milvus Lite file is opened with nothing in memory, and a server may have been told to release it.
        load(connection, name)

    def check(self, space: Space) -> None:
        """Raise ModelError where `space` is not the collection's: scores across spaces mean nothing."""
        if self.contract["fingerprint"] != space.fingerprint:
            raise ModelError(
                f"the collection behind {self._alias} was built with {self.contract['model']} "
                f"({self.contract['revision'][:19]}), not with {space.model} ({space.revision[:19]}); "
                f"pass that one with --model, or rebuild with: ingest run"
            )

    def vector(self, product_id: str) -> NDArray[np.float32]:
        """Return the vector of a product, (dim,) float32; raises QueryError where it is not there."""
        field = self.contract["vector_field"]
        rows = self._query(f"{PRIMARY_KEY} in {json.dumps([product_id], ensure_ascii=False)}", [field])
        if not rows:
            raise QueryError(f"no product {product_id} in the collection behind {self._alias}")
        return np.asarray(rows[0][field], np.float32)

    def search(
        self, vector: NDArray[np.float32], limit: int, expression: str = "", without: str | None = None
    ) -> list[Hit]:
        """Return the `limit` products nearest to a unit vector, best first.

        `expression` is a Milvus filter; `without` leaves one product out. Raises QueryError for a filter that
        Milvus cannot read.
        """
        asked = min(limit + (without is not None), MAX_LIMIT)
        try:
            answer = self._nearest(vector, asked, expression)
        except MilvusError as error:
            if not expression:
                raise
            self._nearest(vector, 1, "")  # where this goes well, the filter is at fault, whatever the server calls it
            fields = ", ".join(f"{name} ({kind})" for name, kind in self.contract["fields"].items())
            raise QueryError(f"--filter {expression!r}: {_reason(error)}; fields: {fields}") from error
        order = list(self.contract["fields"])
        hits = [Hit(str(hit.pk), float(hit["distance"]), _metadata(hit["entity"], order)) for hit in answer]
        return [hit for hit in hits if hit.product_id != without][:limit]

    def _nearest(self, vector: NDArray[np.float32], limit: int, expression: str) -> Any:
        answer = self._connection.call(
            "search",
            self._connection.client.search,
            self._alias,
            data=[vector],
            anns_field=self.contract["vector_field"],
            limit=limit,
            filter=expression,
            output_fields=list(self.contract["fields"]) + (["$meta"] if self._dynamic else []),
            search_params={"metric_type": "IP", "params": {"ef": max(self.contract["ef"], limit)}},
            timeout=CALL_TIMEOUT_S,
        )
        return answer[0]

    def _query(self, expression: str, fields: list[str]) -> list[dict[str, Any]]:
        client = self._connection.client
        rows: list[dict[str, Any]] = self._connection.call(
            "read the product", client.query, self._alias, filter=expression, output_fields=fields,
            timeout=CALL_TIMEOUT_S,
        )  # fmt: skip
        return rows


def in_faiss(
    folder: Path,
    vector: NDArray[np.float32],
    fingerprint: str | None,
    limit: int,
    ef: int,
    without: str | None = None,
) -> list[Hit]:
    """Search the exported FAISS files; hits carry no metadata.

    `fingerprint` is the query's space, or None where that is not known. Raises
    ExportError where the files are missing, ModelError where they were built with another model.
    """
    manifest = arrays.read_manifest(arrays.manifest_path(faiss.Files.of(folder, len(vector)).index))
    if fingerprint and manifest and manifest.fingerprint and manifest.fingerprint != fingerprint:
        raise ModelError(f"{folder}: its index was built with another model; build it again with: ingest export")
    asked = limit + (without is not None)
    found = faiss.search(folder, vector, asked, max(ef, asked))
    return [Hit(product_id, score, {}) for product_id, score in found if product_id != without][:limit]


def exported_vector(npy: Path, ids: Path, product_id: str) -> NDArray[np.float32]:
    """Return a product's row of the exported `.npy`; raises ExportError or QueryError where there is none."""
    rows, names = arrays.read(npy, ids)
    try:
        return np.array(rows[names.index(product_id)])
    except ValueError as error:
        raise QueryError(f"no product {product_id} in {ids}") from error


def _one(vectors: NDArray[np.float32], what: str) -> NDArray[np.float32]:
    from ingest.embedding.encoder import unit

    row: NDArray[np.float32] = unit(vectors)[0]
    if not np.isfinite(row).all():
        raise QueryError(f"the model gives no usable vector for {what}")
    return row


def _metadata(entity: Mapping[str, Any], order: list[str]) -> dict[str, Scalar | None]:
    """Return what an app shows, the contract's fields first; a price that is not known is NaN in Milvus, here None."""
    names = [*order, *sorted(entity.keys() - set(order) - _HIDDEN)]
    values = {name: entity[name] for name in names if name in entity}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()}


def _reason(error: MilvusError) -> str:
    return str(error).partition(": cannot search: ")[2] or str(error)
