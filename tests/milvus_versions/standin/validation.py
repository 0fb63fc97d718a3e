"""What the proxy refuses of rows to write (internal/proxy/validate_util.go, task_upsert.go, util.go)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from pymilvus import DataType

from milvus_versions.standin.call import pairs
from milvus_versions.standin.catalog import META
from milvus_versions.standin.columns import SLOTS, name_of, sent
from milvus_versions.standin.refusal import UNEXPECTED, RefusalError, invalid

if TYPE_CHECKING:
    from milvus_versions.standin.catalog import Collection
    from milvus_versions.standin.dialect import Dialect

MAX_JSON = 65_536
"""common.JSONMaxLength: proxy.maxJSONLength, bytes of one JSON value."""


def check(dialect: Dialect, collection: Collection, request: Any) -> None:
    """Refuse an upsert or insert with a column too many, too few, or with values that do not fit."""
    columns = {}
    for column in request.fields_data:
        if name_of(column) in columns:
            raise invalid(f"duplicated field {name_of(column)} found")
        columns[name_of(column)] = column
    if request.num_rows <= 0:
        raise invalid(f"invalid num_rows: {request.num_rows}")
    fields = collection.fields
    for name, field in fields.items():
        if name not in columns and not field.is_dynamic and not field.nullable:
            raise invalid(f"fieldSchema({name}) has no corresponding fieldData pass in")
    for name, column in columns.items():
        if name not in fields:
            raise invalid(f"fieldName {name} not exist in collection schema")
        _check_rows(fields[name], column, request.num_rows)
        _check_values(dialect, fields, name, column)


def _check_rows(field: Any, column: Any, rows: int) -> None:
    """checkAligned, after CheckValidData (internal/util/nullutil) and fillWithNullValueImpl."""
    name, expected = field.name, rows
    if column.type == DataType.FLOAT_VECTOR:
        dim = int(pairs(field.type_params)["dim"])
        if column.vectors.dim != dim:
            raise invalid(f"the dim ({column.vectors.dim}) of field data({name}) is not equal to schema dim ({dim})")
    if field.nullable and column.valid_data:
        if len(column.valid_data) != rows:
            raise invalid(f"the length of valid_data of field({name}) is wrong")
        expected = sum(column.valid_data)
    elif column.valid_data and not field.nullable and len(column.valid_data) not in (0, rows):
        raise invalid(f"the length of valid_data of field({name}) is wrong")
    if (found := len(sent(column))) != expected:
        raise invalid(f"the num_rows ({found}) of field ({name}) is not equal to passed num_rows ({rows})")


def _check_values(dialect: Dialect, fields: dict[str, Any], name: str, column: Any) -> None:
    field = fields[name]
    if column.type != field.data_type:
        raise invalid(f"field {name} has type {column.type}, the schema {field.data_type}")
    if field.data_type == DataType.FLOAT_VECTOR:
        _check_finite(np.asarray(column.vectors.float_vector.data))
    elif field.data_type in (DataType.FLOAT, DataType.DOUBLE) and dialect.checks_scalars_for_nan:
        _check_finite(np.asarray(getattr(column.scalars, SLOTS[DataType(column.type)]).data))
    elif field.data_type == DataType.VARCHAR:
        longest = int(pairs(field.type_params)["max_length"])
        for row, text in enumerate(column.scalars.string_data.data):
            if (length := len(text.encode())) > longest:
                said = f"length of varchar field {name} exceeds max length, row number: {row}, length: {length}, "
                raise invalid(f"{said}max length: {longest}")
    elif name == META:
        _check_dynamic(fields, column)


def _check_finite(numbers: Any) -> None:
    """VerifyFloat in pkg/util/typeutil: an error without a code of its own."""
    if len(wrong := numbers[~np.isfinite(numbers)]):
        shown = "NaN" if np.isnan(wrong[0]) else "+Inf" if wrong[0] > 0 else "-Inf"
        raise RefusalError(UNEXPECTED, f"value '{shown}' is not a number or infinity")


def _check_dynamic(fields: dict[str, Any], column: Any) -> None:
    """VerifyDynamicFieldData in internal/proxy/util.go, checkJSONFieldData."""
    for raw in column.scalars.json_data.data:
        if len(raw) > MAX_JSON:
            raise invalid(f"the length ({len(raw)}) of json field ({META}) exceeds max length ({MAX_JSON})")
        for key in json.loads(raw):
            if key in fields:
                raise RefusalError(UNEXPECTED, f"dynamic field name cannot include the static field name: {key}")
