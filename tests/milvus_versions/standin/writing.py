"""Writes: upsert, insert, delete, flush."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from milvus_versions.standin import filters, validation
from milvus_versions.standin.call import operation
from milvus_versions.standin.catalog import META
from milvus_versions.standin.columns import name_of, values
from milvus_versions.standin.refusal import RATE_LIMIT, RefusalError, invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milvus_versions.standin.call import Call
    from milvus_versions.standin.catalog import Collection


@operation
def upsert(call: Call) -> Any:
    ids = _written(call)
    return call.answer(IDs=_ids(ids), upsert_cnt=len(ids), succ_index=range(len(ids)), timestamp=call.catalog.number())


@operation
def insert(call: Call) -> Any:
    ids = _written(call)
    return call.answer(IDs=_ids(ids), insert_cnt=len(ids), succ_index=range(len(ids)), timestamp=call.catalog.number())


def _written(call: Call) -> list[Any]:
    collection = call.collection()
    validation.check(call.dialect, collection, call.request)
    columns = {name_of(column): values(column) for column in call.request.fields_data}
    ids = columns[collection.key.name]
    if call.dialect.refuses_doubled_ids and len(set(ids)) != len(ids):
        raise invalid("duplicate primary keys are not allowed in the same batch")
    for place in range(len(ids)):
        row = {name: columns[name][place] if name in columns else None for name in collection.fields}
        if META in row and row[META] is None:
            row[META] = {}
        collection.put(row)
    return ids


@operation
def delete(call: Call) -> Any:
    collection = call.collection()
    if not call.request.expr.strip():
        raise invalid("delete plan can't be empty or always true")
    found = filters.select_rows(collection, call.request.expr, _templates(call))
    for row in found:
        collection.remove(row[collection.key.name])
    return call.answer(delete_cnt=len(found), timestamp=call.catalog.number())


@operation
def flush(call: Call) -> Any:
    found = [call.collection(name) for name in call.request.collection_names]
    for collection in found:
        _check_rate(call, collection)
    return milvus_pb2.FlushResponse(
        coll_segIDs={one.name: schema_pb2.LongArray(data=[1]) for one in found},
        flush_coll_segIDs={one.name: schema_pb2.LongArray(data=[1]) for one in found},
        coll_flush_ts={one.name: call.catalog.number() for one in found},
    )


@operation
def get_flush_state(call: Call) -> Any:
    return call.answer(flushed=True)


def _check_rate(call: Call, collection: Collection) -> None:
    now = time.monotonic()
    if call.dialect.limits_flushes and now - collection.flushed < call.server.flush_every_s:
        reason = "request is rejected by grpc RateLimiter middleware, please retry later: rate limit exceeded[rate=0.1]"
        raise RefusalError(RATE_LIMIT, reason, retriable=True)
    collection.flushed = now


def _templates(call: Call) -> Any:
    return call.request.expr_template_values if call.dialect.has_templates else {}


def _ids(ids: Sequence[Any]) -> Any:
    made = schema_pb2.IDs()
    (made.str_id if ids and isinstance(ids[0], str) else made.int_id).data.extend(ids)
    return made
