"""Rows that the proxy refuses to write (internal/proxy/validate_util.go, task_upsert.go, util.go)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from pymilvus import DataType

from milvus_versions.standin.call import pairs
from milvus_versions.standin.catalog import META
from milvus_versions.standin.columns import SLOTS, name_of, sent
from milvus_versions.standin.refusal import invalid, plain

if TYPE_CHECKING:
    from milvus_versions.standin.catalog import Collection
    from milvus_versions.standin.dialect import Dialect

MAX_JSON = 65_536
"""common.JSONMaxLength in pkg/util/paramtable: bytes of one JSON value, in all versions."""


def check(dialect: Dialect, collection: Collection, request: Any) -> None:
    """Refuse an upsert or insert with a missing or extra column, or with values that do not fit.

    checkFieldsDataBySchema, checkPrimaryFieldData, validateFieldDataColumns; Validate and checkAligned.
    """
    columns: dict[str, Any] = {}
    for column in request.fields_data:
        if name_of(column) in columns:
            raise invalid(f"duplicated field {name_of(column)} found")
        columns[name_of(column)] = column
    if request.num_rows <= 0:
        raise invalid("num_rows should be greater than 0")
    fields = collection.fields
    for name, field in fields.items():
        # fieldSchema.GetNullable(): a missing column is all null; a missing dynamic field is all empty
        if name not in columns and not field.is_dynamic and not field.nullable:
            raise invalid(f"fieldSchema({name}) has no corresponding fieldData pass in")
    for name, column in columns.items():
        if name not in fields:
            raise invalid(f"fieldName {name} not exist in collection schema")
        _check_rows(dialect, fields[name], column, request.num_rows)
        _check_values(dialect, fields, name, column)


def _check_rows(dialect: Dialect, field: Any, column: Any, rows: int) -> None:
    """checkAligned, after CheckValidData (internal/util/nullutil) and fillWithNullValueImpl."""
    name, expected, marks = field.name, rows, len(column.valid_data)
    if field.data_type == DataType.FLOAT_VECTOR:
        dim = int(pairs(field.type_params)["dim"])
        if column.vectors.dim != dim:
            raise invalid(f"the dim ({column.vectors.dim}) of field data({name}) is not equal to schema dim ({dim})")
    if dialect.has_nullable and marks:
        if marks != (rows if field.nullable else 0):
            raise invalid(f"the length of valid_data of field({name}) is wrong")
        expected = sum(column.valid_data)
    if (found := len(sent(column))) != expected:
        raise invalid(f"the num_rows ({found}) of field ({name}) is not equal to passed num_rows ({rows})")


def _check_values(dialect: Dialect, fields: dict[str, Any], name: str, column: Any) -> None:
    field = fields[name]
    if column.type not in (0, field.data_type):
        raise invalid(f"field {name} has type {column.type}, the schema {field.data_type}")
    if field.data_type == DataType.FLOAT_VECTOR:
        _check_finite(dialect, column.vectors.float_vector.data)
    elif field.data_type in (DataType.FLOAT, DataType.DOUBLE) and dialect.checks_scalars_for_nan:
        _check_finite(dialect, getattr(column.scalars, SLOTS[DataType(field.data_type)]).data)
    elif field.data_type == DataType.VARCHAR:
        _check_lengths(dialect, name, int(pairs(field.type_params)["max_length"]), column.scalars.string_data.data)
    elif name == META:
        _check_dynamic(dialect, fields, column)


def _check_finite(dialect: Dialect, numbers: Any) -> None:
    """VerifyFloat in pkg/util/typeutil/float_util.go: an error without a code of its own before 3.0."""
    values = np.asarray(numbers)
    if len(wrong := values[~np.isfinite(values)]):
        shown = "NaN" if np.isnan(wrong[0]) else "+Inf" if wrong[0] > 0 else "-Inf"
        raise plain(dialect, f"value '{shown}' is not a number or infinity")


def _check_lengths(dialect: Dialect, name: str, longest: int, texts: Any) -> None:
    """verifyLengthPerRow: bytes of UTF-8, in all versions."""
    for row, text in enumerate(texts):
        if (length := len(text.encode())) > longest:
            if dialect.since(2, 4):
                said = f"length of varchar field {name} exceeds max length, row number: {row}, length: {length}, "
                raise invalid(f"{said}max length: {longest}")
            raise invalid(f"the length ({length}) of {row}th string exceeds max length ({longest})")


def _check_dynamic(dialect: Dialect, fields: dict[str, Any], column: Any) -> None:
    """CheckJSONFieldData and verifyDynamicFieldData."""
    for raw in column.scalars.json_data.data:
        if len(raw) > MAX_JSON:
            raise invalid(f"the length ({len(raw)}) of dynamic field exceeds max length ({MAX_JSON})")
        keys = json.loads(raw).keys()
        if META in keys:
            raise plain(dialect, f"cannot set json key to: {META}")
        if dialect.refuses_static_names and (static := keys & fields.keys()):
            raise plain(dialect, f"dynamic field name cannot include the static field name: {min(static)}")
