"""The contract with the apps that query: fields, index, embedding space, and the names that follow from them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any

from ingest.core import canonical_json, collection_layout, image_list, search_ef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.core.collection_layout import Layout
    from ingest.core.field import Field
    from ingest.core.image_list import ImageList

PRIMARY_KEY = "product_id"
ROW_DIGEST = "row_digest"
IMAGE_SHA256 = "image_sha256"
PROPERTY = "ingest.contract"
"""The collection property that carries the contract as JSON."""
BUILT, SERVED = "ingest.built", "ingest.served"
"""The properties with the times at which a collection was created and the alias last switched to it (ISO 8601, UTC)."""
PREVIOUS = "ingest.previous"
"""The property that names the collection that the alias served before it switched to this one."""
FILLING = "ingest.filling"
"""The property with the time at which a run began to fill a collection that is not served; "" once it is."""
HIGH_WATER = "ingest.high_water"
"""The property with how many products apps found in each of the last seven runs, from the most on, as JSON."""
IMPORTING = "ingest.importing"
"""The property that lists the files being imported, as JSON; "" or missing if there are none."""

DYNAMIC = "$meta"  # Milvus' name for the dynamic field; it refuses a row with a key of that name


@dataclass(frozen=True, slots=True)
class HnswIndex:
    """The HNSW index over the vector field; `ef` is used for searches and may change at any time."""

    field: str
    metric: str
    type: str
    m: int
    ef_construction: int
    ef: int


@dataclass(frozen=True, slots=True)
class Contract:
    """What a collection looks like to the apps that query it.

    `missing` says, by field, how the collection stores a missing number: as null (None) or as a number that stands for
    it; other fields store NaN. It depends on the server, so it is empty in a contract read from a file. `group` is the
    field whose value products of one item share, of which an answer names one; "" if there is none.
    """

    version: int
    alias: str
    keeps_others: bool
    id_max_length: int
    index: HnswIndex
    fields: tuple[Field, ...]
    layout: Layout = collection_layout.NONE
    images: ImageList = image_list.ONE
    group: str = ""
    missing: Mapping[str, float | None] = dataclass_field(default_factory=dict)

    @property
    def taken_names(self) -> frozenset[str]:
        """Names that a column in the dynamic field cannot have."""
        own = {PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256, DYNAMIC, self.index.field}
        return frozenset(own | {field.name for field in self.fields})

    @property
    def nullable(self) -> frozenset[str]:
        """Fields that store a missing number as null."""
        return frozenset(name for name, instead in self.missing.items() if instead is None)


@dataclass(frozen=True, slots=True)
class Space:
    """An embedding space: two vectors may be compared only if their spaces are equal.

    `model` is a hub id or the name of a local folder, `revision` the hub's commit or `sha256:…` of a local checkpoint,
    `preprocessing` what is done to pixels before the model sees them.
    """

    model: str
    revision: str
    dim: int
    preprocessing: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """16 hex digits over model, revision, dim and preprocessing; not over the device or the batch size.

        A local checkpoint is identified by its content alone, so its folder may be moved or renamed.
        """
        content = asdict(self)
        if self.revision.startswith("sha256:"):
            del content["model"]
        return hashlib.sha256(canonical_json.encode(content).encode()).hexdigest()[:16]


def previous_alias(alias: str) -> str:
    """Return the name of the second alias, which points to the collection that `alias` served before."""
    return f"{alias}_previous"


def collection_name(contract: Contract, space: Space) -> str:
    """Return the physical collection's name: the alias and 12 hex digits over the schema and the space.

    `ef` and the replicas are not covered, because they can be changed in an existing collection. Neither are an empty
    layout and missing numbers stored as NaN, so that collections built by older versions keep their names.
    """
    shape = asdict(replace(contract, index=replace(contract.index, ef=0)))
    for field in shape["fields"]:
        del field["missing"]  # covered by `missing` below if the server needs it
    del shape["layout"], shape["missing"], shape["images"], shape["group"]
    shape |= {"layout": contract.layout.lasting} if contract.layout.lasting else {}
    shape |= {"missing": contract.missing} if contract.missing else {}
    content = canonical_json.encode({"schema": shape, "space": space.fingerprint})
    return f"{contract.alias}_{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def to_json(contract: Contract, space: Space, measured_ef: int | None = None) -> str:
    """Return the JSON kept in the collection's property `ingest.contract`, for apps to check against."""
    index = contract.index
    content = {
        "version": contract.version,
        "alias": contract.alias,
        "model": space.model,
        "revision": space.revision,
        "fingerprint": space.fingerprint,
        "dim": space.dim,
        "preprocessing": dict(space.preprocessing),
        "normalised": True,
        "primary_key": PRIMARY_KEY,
        "vector_field": index.field,
        "metric": index.metric,
        "index": {"type": index.type, "M": index.m, "efConstruction": index.ef_construction},
        "ef": index.ef,
        "fields": {field.name: field.type for field in contract.fields},
    }
    if contract.layout.partition_key:
        content["partition_key"] = contract.layout.partition_key
    if contract.group:
        content["group"] = contract.group
    if contract.missing:
        content["missing"] = dict(contract.missing)
    return json.dumps(search_ef.add_measured(content, measured_ef), ensure_ascii=True)
