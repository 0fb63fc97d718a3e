"""Reads: queries, counts, pages of an iterator, and searches."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from milvus_lite.adapter.grpc.translators.search import parse_search_request
from pymilvus import DataType
from pymilvus.grpc_gen import schema_pb2

from milvus_versions.standin import filters
from milvus_versions.standin.call import operation, pairs
from milvus_versions.standin.catalog import META
from milvus_versions.standin.columns import column
from milvus_versions.standin.loading import check_loaded
from milvus_versions.standin.refusal import UNEXPECTED, RefusalError, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milvus_versions.standin.call import Call
    from milvus_versions.standin.catalog import Collection, Row

MAX_WINDOW = 16_384
"""quotaAndLimits.limits.maxQueryResultWindow and topKLimit, in all versions."""
COUNT = "count(*)"


@operation
def query(call: Call) -> Any:
    collection, params = call.collection(cached=True), pairs(call.request.query_params)
    check_loaded(collection)
    limit, offset = int(params.get("limit", -1)), int(params.get("offset", 0))
    asked = list(call.request.output_fields)
    if "limit" in params:
        _check_window(call, limit, offset)
    elif not call.request.expr.strip() and COUNT not in asked:
        raise plain(call.dialect, "empty expression should be used with limit")
    rows = filters.select_rows(collection, call.request.expr, _templates(call))
    if COUNT in asked and (grouped := params.get("group_by_fields")) and call.dialect.groups:
        return _grouped(call, collection, rows, grouped.split(","))
    if COUNT in asked:
        total = schema_pb2.FieldData(field_name=COUNT, type=DataType.INT64)
        total.scalars.long_data.data.append(len(rows))
        return call.answer(fields_data=[total], collection_name=collection.name, output_fields=[COUNT])
    rows = rows[offset : offset + limit] if "limit" in params else rows
    names = _fields(call, collection, asked)
    if (key := collection.key.name) not in names:
        names.append(key)  # a query answers with the primary key, asked for or not
    answer = call.answer(
        fields_data=_columns(collection, names, rows), collection_name=collection.name, output_fields=asked or names,
        primary_field_name=key, session_ts=_moment(call, params),
    )  # fmt: skip
    return _within_limit(call, answer)


def _moment(call: Call, params: dict[str, str]) -> int:
    """Return when an iterator's first page was read (queryTask.PostExecute, since 2.4.14); 0 if unknown."""
    first = params.get("iterator") == "True" and not call.request.guarantee_timestamp
    return call.catalog.number() << 18 if first and call.dialect.since(2, 4) else 0


@operation
def search(call: Call) -> Any:
    collection = call.collection(cached=True)
    check_loaded(collection)
    asked = parse_search_request(call.request)
    limit, offset = asked["top_k"], asked["offset"]
    if not 0 < limit <= MAX_WINDOW:
        reason = f"topk [{limit}] is invalid, it should be in range [1, {MAX_WINDOW}], but got {limit}"
        raise plain(call.dialect, reason)
    rows = filters.select_rows(collection, call.request.dsl, _templates(call))
    names = _fields(call, collection, list(call.request.output_fields))
    hits, scores, counts = _nearest(collection, rows, asked, limit + offset, offset)
    ids = schema_pb2.IDs()
    keys = [row[collection.key.name] for row in hits]
    (ids.str_id if collection.key.data_type == DataType.VARCHAR else ids.int_id).data.extend(keys)
    results = schema_pb2.SearchResultData(
        num_queries=len(counts), top_k=limit, scores=scores, topks=counts, ids=ids,
        fields_data=_columns(collection, names, hits), output_fields=list(call.request.output_fields),
        primary_field_name=collection.key.name,
    )  # fmt: skip
    return _within_limit(call, call.answer(results=results, collection_name=collection.name))


def _nearest(
    collection: Collection, rows: Sequence[Row], asked: dict[str, Any], first: int, offset: int
) -> tuple[list[Row], list[float], list[int]]:
    """Return the hits of all queries one after the other, their inner products, and how many each query has."""
    vectors = [field for field in collection.schema.fields if field.data_type == DataType.FLOAT_VECTOR]
    name = asked["anns_field"] or vectors[0].name
    dim = int(pairs(collection.fields[name].type_params)["dim"])
    queries = asked["query_vectors"]
    if wrong := [query for query in queries if len(query) != dim]:
        raise RefusalError(
            UNEXPECTED, f"vector dimension mismatch, expected vector size(byte) {4 * dim}, actual {4 * len(wrong[0])}."
        )
    hits: list[Row] = []
    scores: list[float] = []
    counts = []
    matrix = np.stack([row[name] for row in rows]) if rows else np.zeros((0, dim), np.float32)
    for query in queries:
        products = matrix @ np.asarray(query, np.float32)
        best = np.argsort(-products, kind="stable")[offset:first]
        hits += [rows[place] for place in best]
        scores += products[best].tolist()
        counts.append(len(best))
    return hits, scores, counts


def _grouped(call: Call, collection: Collection, rows: Sequence[Row], names: list[str]) -> Any:
    """Count the rows of each combination of values (queryTask.reduce… with an aggregation, 3.0)."""
    counts = Counter(tuple(row[name] for name in names) for row in rows)
    limit = int(pairs(call.request.query_params).get("limit", len(counts)))
    groups = list(counts)[:limit]
    total = schema_pb2.FieldData(field_name=COUNT, type=DataType.INT64)
    total.scalars.long_data.data.extend(counts[group] for group in groups)
    columns = [column(collection.fields[name], [group[place] for group in groups]) for place, name in enumerate(names)]
    return call.answer(fields_data=[*columns, total], collection_name=collection.name, output_fields=[*names, COUNT])


def _fields(call: Call, collection: Collection, asked: list[str]) -> list[str]:
    """Return the fields of an answer (translateOutputFields, internal/proxy/util.go)."""
    fields, names = collection.fields, []
    for name in asked:
        if name == "*":
            names += [field for field in fields if field not in names]
        elif name in fields:
            names.append(name)
        elif META in fields:
            names.append(META)  # the client picks the keys that were asked for
        else:
            raise plain(call.dialect, f"field {name} not exist")
    return list(dict.fromkeys(names))


def _columns(collection: Collection, names: Sequence[str], rows: Sequence[Row]) -> list[Any]:
    return [column(collection.fields[name], [row[name] for row in rows]) for name in names]


def _check_window(call: Call, limit: int, offset: int) -> None:
    """validateMaxQueryResultWindow, internal/proxy/util.go."""
    if not 0 < offset + limit <= MAX_WINDOW:
        said = f"invalid max query result window, (offset+limit) should be in range [1, {MAX_WINDOW}], but got"
        raise plain(call.dialect, f"{said} {offset + limit}")


def _within_limit(call: Call, answer: Any) -> Any:
    """Refuse an answer that is too large."""
    if answer.ByteSize() > call.server.max_answer:
        what = "query" if call.method == "Query" else "search"
        raise plain(call.dialect, f"{what} results exceed the maxOutputSize Limit {call.server.max_answer}")
    return answer


def _templates(call: Call) -> Any:
    return call.request.expr_template_values if call.dialect.has_templates else {}
