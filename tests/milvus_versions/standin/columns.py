"""Milvus' columns (FieldData) to values and back.

Nulls are marked in `valid_data`, one bool a row. A client sends only the valid values in the array; the server fills
it up first (fillWithNullValueImpl, internal/proxy/validate_util.go, 2.5), and answers with arrays of full length
(pymilvus 3.0.2 reads them so: entity_helper.extract_row_data_from_fields_data_v2).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from pymilvus import DataType
from pymilvus.grpc_gen import schema_pb2

from milvus_versions.standin.catalog import META

if TYPE_CHECKING:
    from collections.abc import Sequence

SLOTS = {
    DataType.BOOL: "bool_data",
    DataType.INT8: "int_data",
    DataType.INT16: "int_data",
    DataType.INT32: "int_data",
    DataType.INT64: "long_data",
    DataType.FLOAT: "float_data",
    DataType.DOUBLE: "double_data",
    DataType.VARCHAR: "string_data",
    DataType.JSON: "json_data",
}
_ZERO: dict[str, Any] = {
    "bool_data": False,
    "string_data": "",
    "json_data": b"{}",
    "float_data": 0.0,
    "double_data": 0.0,
}


def name_of(column: Any) -> str:
    """Return the name of a column's field: a dynamic one may come without a name."""
    return META if column.is_dynamic else str(column.field_name)


def sent(column: Any) -> list[Any]:
    """Return the values in a column's array as they were sent: only the valid ones."""
    if column.HasField("vectors"):
        flat = np.asarray(column.vectors.float_vector.data, np.float32)
        return list(flat.reshape(-1, max(1, column.vectors.dim)))
    return list(getattr(column.scalars, SLOTS[DataType(column.type)]).data)


def values(column: Any) -> list[Any]:
    """Return a value for each row, None for null; dictionaries for the dynamic field."""
    found = sent(column)
    if column.type == DataType.JSON:
        found = [json.loads(value) for value in found]
    if column.valid_data and len(found) < len(column.valid_data):
        rest = iter(found)
        return [next(rest) if valid else None for valid in column.valid_data]
    return found


def column(schema: Any, rows: Sequence[Any]) -> Any:
    """Return a column of an answer, from a field's schema and a value for each row."""
    made = schema_pb2.FieldData(field_name=schema.name, type=schema.data_type, field_id=schema.fieldID)
    made.is_dynamic = schema.is_dynamic
    if schema.data_type == DataType.FLOAT_VECTOR:
        made.vectors.dim = int(next(pair.value for pair in schema.type_params if pair.key == "dim"))
        made.vectors.float_vector.data.extend(np.concatenate(rows).tolist() if rows else [])
        return made
    slot = SLOTS[DataType(schema.data_type)]
    if schema.nullable:
        made.valid_data.extend(value is not None for value in rows)
    if schema.data_type == DataType.JSON:
        rows = [json.dumps(value, ensure_ascii=False).encode() for value in rows]
    zero = _ZERO.get(slot, 0)
    getattr(made.scalars, slot).data.extend(zero if value is None else value for value in rows)
    return made
