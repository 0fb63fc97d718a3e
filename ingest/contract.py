"""The contract with the apps that query: `schema/products.toml` read and checked, digests, names.

Limits are Milvus': names of letters, digits and `_` up to 255 characters, VARCHAR up to 65,535 bytes,
M 2 to 2,048 (https://milvus.io/docs/limitations.md, https://milvus.io/docs/hnsw.md).
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest import canonical, layout, tuning
from ingest.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ingest.layout import Layout
    from ingest.records import Product, Scalar

TYPES = ("VARCHAR", "INT64", "FLOAT", "DOUBLE", "BOOL")
PRIMARY_KEY = "product_id"
ROW_DIGEST = "row_digest"
IMAGE_SHA256 = "image_sha256"
PROPERTY = "ingest.contract"
"""The collection property that carries the contract as JSON."""
BUILT, SERVED = "ingest.built", "ingest.served"
"""The properties that say when a collection was made, and when the alias last moved to it (ISO 8601, UTC)."""
IMPORTING = "ingest.importing"
"""The property that says which files are being imported, as JSON; "" or missing if none is."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_MAX_VARCHAR = 65_535
_MAX_ALIAS = 255 - 13  # `_` and 12 digits of fingerprint make the collection's name
_MAX_FLOAT = {"FLOAT": 3.4028234663852886e38, "DOUBLE": sys.float_info.max}
DYNAMIC = "$meta"  # Milvus' own name for the dynamic field; a row with a key of that name is refused


@dataclass(frozen=True, slots=True)
class Field:
    """One typed metadata field: from `column` of the catalog to `name` in the collection.

    `max_length` counts UTF-8 bytes and is 0 but for VARCHAR. `default` is None where an empty cell is an error.
    """

    name: str
    type: str
    column: str
    max_length: int
    default: Scalar | None


@dataclass(frozen=True, slots=True)
class Index:
    """The HNSW index over the vector field; `ef` is for searching and may be changed at any time."""

    field: str
    metric: str
    type: str
    m: int
    ef_construction: int
    ef: int


@dataclass(frozen=True, slots=True)
class Contract:
    """What a collection looks like to the apps that query it."""

    version: int
    alias: str
    keeps_others: bool
    id_max_length: int
    index: Index
    fields: tuple[Field, ...]
    layout: Layout = layout.NONE

    @property
    def taken_names(self) -> frozenset[str]:
        """Names that a column kept in the dynamic field cannot have."""
        own = {PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256, DYNAMIC, self.index.field}
        return frozenset(own | {field.name for field in self.fields})


@dataclass(frozen=True, slots=True)
class Space:
    """An embedding space: two vectors may be compared only if theirs are equal.

    `model` is a hub id or the name of a local folder, `revision` the hub's commit or `sha256:…` over a local
    checkpoint, `preprocessing` what is done to pixels before the model sees them.
    """

    model: str
    revision: str
    dim: int
    preprocessing: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """16 hex digits over model, revision, dim and preprocessing; not over the device or the batch size.

        A local checkpoint is known by its content alone, so that its folder may be moved or renamed.
        """
        content = asdict(self)
        if self.revision.startswith("sha256:"):
            del content["model"]
        return hashlib.sha256(canonical.of(content).encode()).hexdigest()[:16]


def default_path() -> Path:
    """Return the shipped `products.toml`: inside the package in a wheel, else at the top of the checkout."""
    package = Path(__file__).parent
    packed = package / "_schema" / "products.toml"
    return packed if packed.is_file() else package.parent / "schema" / "products.toml"


def load(path: Path) -> Contract:
    """Read and check a contract file.

    Raises ContractError, one line naming the file and the key, for anything Milvus or an app could not live with.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ContractError(f"{path}: cannot be read ({error.strerror}); pass --schema FILE") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ContractError(f"{path}: not valid TOML: {error}") from error
    try:
        contract = _contract(table)
    except _FaultError as fault:
        raise ContractError(f"{path}: {fault}") from fault
    try:
        types = {field.name: field.type for field in contract.fields}
        return replace(contract, layout=layout.read(table.get("collection", {}), types, text))
    except ValueError as fault:
        raise ContractError(f"{path} {fault}") from fault


def collection_name(contract: Contract, space: Space) -> str:
    """Return the physical collection's name: the alias and 12 hex digits over the schema and the space.

    What can be changed while the collection stays, `ef` and the replicas, is not in it; neither is a layout that says
    nothing, so that the names of collections built before there was one are what they were.
    """
    shape = asdict(replace(contract, index=replace(contract.index, ef=0)))
    del shape["layout"]
    shape |= {"layout": contract.layout.lasting} if contract.layout.lasting else {}
    content = canonical.of({"schema": shape, "space": space.fingerprint})
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
    return json.dumps(tuning.with_measured(content, measured_ef), ensure_ascii=True)


def row_digest(product: Product, sha256: bytes, fingerprint: str) -> str:
    """Return 32 hex digits that change when the picture, the embedding space or the row's metadata does."""
    content = sha256 + fingerprint.encode() + canonical.of(product.metadata).encode()
    return hashlib.sha256(content).hexdigest()[:32]


def row_digests(metadata: Sequence[Mapping[str, Scalar]], shas: Iterable[bytes], fingerprint: str) -> list[bytes]:
    """Return for each row, by its metadata and its picture, the 16 bytes that `row_digest` writes as hex."""
    space = fingerprint.encode()
    rows = zip(shas, canonical.of_rows(metadata), strict=True)
    return [hashlib.sha256(sha + space + content.encode()).digest()[:16] for sha, content in rows]


class _FaultError(Exception):
    """What is wrong with a key, before the file's name is put in front."""


def _contract(table: dict[str, Any]) -> Contract:
    _no_others(table, {"version", "alias", "others", "product_id", "embedding", "collection", "fields"}, "")
    if table.get("version") != 1:
        raise _FaultError(f"version is {table.get('version')!r}; this ingest reads version 1")
    others = table.get("others", "dynamic")
    if others not in ("dynamic", "drop"):
        raise _FaultError(f'others is {others!r}; it is "dynamic" or "drop"')
    key = table.get("product_id", {})
    _no_others(key, {"max_length"}, "product_id.")
    entries = table.get("fields", [])
    if not isinstance(entries, list):
        raise _FaultError("fields must be tables, each under [[fields]]")
    fields = tuple(_field(entry, number) for number, entry in enumerate(entries, 1))
    alias = _name(table.get("alias"), "alias")
    if len(alias) > _MAX_ALIAS:
        raise _FaultError(f"alias is {len(alias)} characters; at most {_MAX_ALIAS}, for a fingerprint follows")
    contract = Contract(
        version=1,
        alias=alias,
        keeps_others=others == "dynamic",
        id_max_length=_integer(key, "max_length", "product_id.", 1, _MAX_VARCHAR),
        index=_index(table.get("embedding", {})),
        fields=fields,
    )
    reserved = {PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256, contract.index.field}
    for field in fields:
        if field.name in reserved:
            raise _FaultError(f"fields: {field.name} stands twice, or is a name that ingest itself uses")
        reserved.add(field.name)
    return contract


def _index(table: dict[str, Any]) -> Index:
    _no_others(table, {"field", "metric", "index", "M", "efConstruction", "ef"}, "embedding.")
    for key, only in (("metric", "IP"), ("index", "HNSW")):
        if table.get(key, only) != only:
            raise _FaultError(f"embedding.{key} is {table[key]!r}; ingest builds {only} (unit vectors) alone")
    return Index(
        field=_name(table.get("field", "embedding"), "embedding.field"),
        metric="IP",
        type="HNSW",
        m=_integer(table, "M", "embedding.", 2, 2048),
        ef_construction=_integer(table, "efConstruction", "embedding.", 1, 32_768),
        ef=_integer(table, "ef", "embedding.", 1, 32_768),
    )


def _field(entry: dict[str, Any], number: int) -> Field:
    place = f"fields[{number}]."
    _no_others(entry, {"name", "type", "column", "max_length", "default"}, place)
    name = _name(entry.get("name"), f"{place}name")
    kind = entry.get("type")
    if kind not in TYPES:
        raise _FaultError(f"{place}type of {name} is {kind!r}; one of {', '.join(TYPES)}")
    length = _integer(entry, "max_length", place, 1, _MAX_VARCHAR) if kind == "VARCHAR" else 0
    column = entry.get("column", name)
    if not isinstance(column, str) or not column:
        raise _FaultError(f"{place}column of {name} must be a column's name")
    default = entry.get("default")
    if default is not None:
        default = _default(default, kind, length, f"{place}default of {name}")
    return Field(name=name, type=kind, column=column, max_length=length, default=default)


def _default(value: Any, kind: str, length: int, place: str) -> Scalar:
    fits = {
        "VARCHAR": isinstance(value, str) and len(str(value).encode()) <= length,
        "INT64": isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63,
        "BOOL": isinstance(value, bool),
    }.get(kind, isinstance(value, int | float) and not isinstance(value, bool))
    if kind in _MAX_FLOAT:
        fits = fits and not abs(value) > _MAX_FLOAT[kind]  # nan is not greater: it stands for "not known"
    if not fits:
        raise _FaultError(f"{place} is {str(value)[:60]!r}, which is no {kind}")
    if kind in _MAX_FLOAT:
        return float(value)
    return value  # type: ignore[no-any-return]


def _name(value: Any, place: str) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _FaultError(f"{place} is {value!r}; Milvus takes letters, digits and _, no digit first")
    return value


def _integer(table: Mapping[str, Any], key: str, prefix: str, low: int, high: int) -> int:
    value = table.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _FaultError(f"{prefix}{key} is {value!r}; a whole number from {low} to {high} is needed")
    return value


def _no_others(table: Any, known: set[str], prefix: str) -> None:
    if not isinstance(table, dict):
        raise _FaultError(f"{prefix.rstrip('.')} must be a table")
    for key in table:
        if key not in known:
            name = " ".join(key.split())
            raise _FaultError(f"{prefix}{name} is not a key of the contract; known: {', '.join(sorted(known))}")
