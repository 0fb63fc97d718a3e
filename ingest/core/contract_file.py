"""`schema/products.toml`, the contract, read and checked.

The limits of M are those of Milvus: 2 to 2,048 (https://milvus.io/docs/hnsw.md).
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingest.core import collection_layout, image_list
from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST, Contract, HnswIndex
from ingest.core.errors import ContractError
from ingest.core.field import MAX_VARCHAR, FaultError, Field, field_name, integer, milvus_name, no_others, read_field

_MAX_ALIAS = 255 - 13  # `_` and 12 digits of fingerprint make the collection's name


def default_path() -> Path:
    """Return the shipped `products.toml`: inside the package in a wheel, else at the top of the checkout."""
    package = Path(__file__).parents[1]
    packed = package / "_schema" / "products.toml"
    return packed if packed.is_file() else package.parent / "schema" / "products.toml"


def load(path: Path) -> Contract:
    """Read and check a contract file.

    Raises ContractError with one line that names the file and the key, for anything that Milvus cannot hold.
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
    except FaultError as fault:
        raise ContractError(f"{path}: {fault}") from fault
    try:
        types = {field.name: field.type for field in contract.fields}
        return replace(contract, layout=collection_layout.read(table.get("collection", {}), types, text))
    except ValueError as fault:
        raise ContractError(f"{path} {fault}") from fault


def _contract(table: dict[str, Any]) -> Contract:
    no_others(
        table, {"version", "alias", "others", "product_id", "embedding", "collection", "fields", "images", "group"}, ""
    )
    if table.get("version") != 1:
        raise FaultError(f"version is {table.get('version')!r}; this version of ingest reads version 1")
    others = table.get("others", "dynamic")
    if others not in ("dynamic", "drop"):
        raise FaultError(f'others is {others!r}; it must be "dynamic" or "drop"')
    key = table.get("product_id", {})
    no_others(key, {"max_length"}, "product_id.")
    entries = table.get("fields", [])
    if not isinstance(entries, list):
        raise FaultError("fields must be tables, each under [[fields]]")
    fields = tuple(read_field(entry, number) for number, entry in enumerate(entries, 1))
    alias = milvus_name(table.get("alias"), "alias")
    if len(alias) > _MAX_ALIAS:
        raise FaultError(f"alias is {len(alias)} characters; at most {_MAX_ALIAS} leave room for a fingerprint")
    contract = Contract(
        version=1,
        alias=alias,
        keeps_others=others == "dynamic",
        id_max_length=integer(key, "max_length", "product_id.", 1, MAX_VARCHAR),
        index=_index(table.get("embedding", {})),
        fields=fields,
        images=image_list.read(table.get("images", {})),
        group=_group(table.get("group", ""), fields),
    )
    reserved = {PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256, contract.index.field}
    for field in fields:
        if field.name in reserved:
            raise FaultError(f"fields: {field.name} is listed twice, or is a name that ingest uses itself")
        reserved.add(field.name)
    return contract


def _group(name: Any, fields: tuple[Field, ...]) -> str:
    texts = [field.name for field in fields if field.type == "VARCHAR"]
    if name == "" or name in texts:
        return str(name)
    raise FaultError(
        f"group is {name!r}; it must be a VARCHAR field of [[fields]], one of {', '.join(texts) or 'none'}"
    )


def _index(table: dict[str, Any]) -> HnswIndex:
    no_others(table, {"field", "metric", "index", "M", "efConstruction", "ef"}, "embedding.")
    for key, only in (("metric", "IP"), ("index", "HNSW")):
        if table.get(key, only) != only:
            raise FaultError(f"embedding.{key} is {table[key]!r}; ingest builds only {only} (unit vectors)")
    return HnswIndex(
        field=field_name(table.get("field", "embedding"), "embedding.field"),
        metric="IP",
        type="HNSW",
        m=integer(table, "M", "embedding.", 2, 2048),
        ef_construction=integer(table, "efConstruction", "embedding.", 1, 32_768),
        ef=integer(table, "ef", "embedding.", 1, 32_768),
    )
