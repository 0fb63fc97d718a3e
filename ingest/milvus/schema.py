"""The contract as Milvus schema, and how an existing collection differs from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.core.contract import Contract

_DIGEST_LENGTH = 32
_SHA256_LENGTH = 64


def schema(contract: Contract, dim: int) -> Any:
    """Return the CollectionSchema: primary key, vector, digests, and the contract's typed fields."""
    from pymilvus import DataType, MilvusClient

    made = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=contract.keeps_others)
    made.add_field(PRIMARY_KEY, DataType.VARCHAR, is_primary=True, max_length=contract.id_max_length)
    made.add_field(contract.index.field, DataType.FLOAT_VECTOR, dim=dim)
    made.add_field(ROW_DIGEST, DataType.VARCHAR, max_length=_DIGEST_LENGTH)
    made.add_field(IMAGE_SHA256, DataType.VARCHAR, max_length=_SHA256_LENGTH)
    nullable = contract.nullable
    for field in contract.fields:
        more: dict[str, Any] = {"max_length": field.max_length} if field.type == "VARCHAR" else {}
        if field.name == contract.layout.partition_key:
            more["is_partition_key"] = True
        if field.name in nullable:
            more["nullable"] = True
        made.add_field(field.name, DataType[field.type], **more)
    return made


def misfits(description: Mapping[str, Any], contract: Contract, dim: int) -> list[str]:
    """Return why a collection, as `describe_collection` answers, cannot hold the contract's rows; empty if it can."""
    from pymilvus import DataType

    fields = {field["name"]: field for field in description["fields"]}
    wanted = {
        PRIMARY_KEY: "VARCHAR",
        contract.index.field: "FLOAT_VECTOR",
        ROW_DIGEST: "VARCHAR",
        IMAGE_SHA256: "VARCHAR",
    }
    wanted |= {field.name: field.type for field in contract.fields}
    faults = []
    for name, kind in wanted.items():
        if name not in fields:
            faults.append(f"has no field {name}")
        elif fields[name]["type"] != DataType[kind]:
            faults.append(f"{name} is {DataType(fields[name]['type']).name}, not {kind}")
        elif bool(fields[name].get("nullable")) != (name in contract.nullable):
            faults.append(f"{name} {'is not nullable' if name in contract.nullable else 'is nullable'}")
    vector = fields.get(contract.index.field, {}).get("params", {}).get("dim")
    if vector is not None and int(vector) != dim:
        faults.append(f"{contract.index.field} has dim {vector}, the model {dim}")
    if PRIMARY_KEY in fields and not fields[PRIMARY_KEY].get("is_primary"):
        faults.append(f"{PRIMARY_KEY} is not its primary key")
    key = next((name for name, field in fields.items() if field.get("is_partition_key")), "")
    if key != contract.layout.partition_key:
        faults.append(f"its partition key is {key or 'none'}, not {contract.layout.partition_key or 'none'}")
    return faults
