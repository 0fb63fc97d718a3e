"""Finds the rows that a filter matches, with Milvus Lite's parser and evaluator.

Both treat null as SQL does: a comparison with null is unknown, and so is its negation. Milvus' own
(internal/core/src/exec/expression) keeps a bitmap of valid rows beside the result: `not (price < 20)` finds no null.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from milvus_lite.adapter.grpc.translators.schema import milvus_to_milvus_lite_schema
from milvus_lite.search.filter import FilterError, compile_filter
from milvus_lite.search.filter.ast import FieldRef, InOp
from milvus_lite.search.filter.eval.python_backend import _eval_row
from pymilvus.grpc_gen import schema_pb2

from milvus_versions.standin.refusal import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from milvus_versions.standin.catalog import Collection, Row


def select_rows(collection: Collection, expression: str, templates: Mapping[str, Any] | None = None) -> list[Row]:
    """Return the rows that an expression matches, by primary key; refuses one that cannot be parsed."""
    key = collection.key.name
    rows = [*collection.rows.values(), *collection.doubles]
    if expression.strip():
        tree = _parsed(collection, _filled(expression, templates or {}))
        if isinstance(tree, InOp) and isinstance(tree.field, FieldRef) and tree.field.name == key and not tree.negate:
            wanted = {element.value for element in tree.values.elements}
            rows = [row for row in rows if row[key] in wanted]
        else:
            rows = [row for row in rows if _eval_row(tree, row) is True]
    return sorted(rows, key=lambda row: row[key])


def _parsed(collection: Collection, expression: str) -> Any:
    schema = schema_pb2.CollectionSchema()
    schema.CopyFrom(collection.schema)
    del schema.fields[:]
    schema.fields.extend(field for field in collection.schema.fields if not field.is_dynamic)
    try:
        return compile_filter(expression, milvus_to_milvus_lite_schema(schema)).ast
    except FilterError as error:
        # createPlan, internal/proxy/task_query.go and task_search.go
        said = str(error).splitlines()[0]
        reason = f"failed to create query plan: cannot parse expression: {expression}, error: {said}"
        raise invalid(reason) from None


def _filled(expression: str, templates: Mapping[str, Any]) -> str:
    for name, value in templates.items():
        expression = expression.replace(f"{{{name}}}", json.dumps(_plain(value), ensure_ascii=False))
    return expression


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("val")
    if kind != "array_val":
        return getattr(value, kind)
    array = value.array_val
    data = getattr(array, array.WhichOneof("data"))
    return [_plain(item) for item in data.array] if hasattr(data, "array") else list(data.data)
