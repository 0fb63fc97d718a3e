"""Reads rows in pages that are small enough for the server to send.

Milvus sends at most 100 MiB at once (quotaAndLimits.limits.maxOutputSize). A page that it refuses for its size is asked
for again in halves: rows of ids and digests are read by the thousands, rows with long texts as many as fit.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ingest.core.contract import PRIMARY_KEY
from ingest.core.errors import MilvusError
from ingest.milvus import error_codes, filters
from ingest.milvus.connection import CALL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.milvus.connection import Connection

_MAX_ROWS = 16_384
"""Milvus' limit for one request; 1,000 at a time is 3 to 8 times slower."""
_PAGE_TIMEOUT_S = 20.0  # for one try of a page, which takes tenths of a second


def pages(connection: Connection, name: str, fields: list[str], consistency: str) -> Iterator[list[dict[str, Any]]]:
    """Yield all rows of a collection with these fields, thousands at a time, in the order of their ids.

    If the server says at which moment it read the first page (2.4.14 and newer do), the others are read as of that
    moment; otherwise each is read with the given consistency.
    """
    doing = f"read all rows of {name}"
    described = connection.call(doing, connection.client.describe_collection, name)
    query = _query(name, described["collection_id"], fields, consistency)
    limit = _MAX_ROWS
    while True:
        query.query_params[0].value = str(limit)
        try:
            answer = connection.call(doing, connection.request, "Query", query, timeout=_PAGE_TIMEOUT_S)
        except MilvusError as error:
            if limit == 1 or not error_codes.is_too_large(error.__cause__):
                raise
            limit //= 2
            continue
        page, last = _page(answer)
        if not page:
            return
        query.expr = f"{PRIMARY_KEY} > {json.dumps(last, ensure_ascii=False)}"
        query.guarantee_timestamp = query.guarantee_timestamp or answer.session_ts
        yield page


def rows(
    connection: Connection, name: str, product_ids: Sequence[str], fields: list[str], consistency: str | None = None
) -> list[dict[str, Any]]:
    """Return the existing rows of these products with these fields; None means the collection's own consistency."""
    asked = {"consistency_level": consistency} if consistency else {}
    try:
        found: list[dict[str, Any]] = connection.call(
            f"read rows of {name}", connection.client.query, name, filter=filters.among(PRIMARY_KEY, product_ids),
            output_fields=fields, timeout=CALL_TIMEOUT_S, **asked,
        )  # fmt: skip
    except MilvusError as error:
        if len(product_ids) == 1 or not error_codes.is_too_large(error.__cause__):
            raise
        middle = len(product_ids) // 2
        halves = product_ids[:middle], product_ids[middle:]
        return [row for half in halves for row in rows(connection, name, half, fields, consistency)]
    return found


def _query(name: str, number: int, fields: list[str], consistency: str) -> Any:
    """Return the message that asks for the first page.

    pymilvus' iterator (3.0.2) sends the same, but drops the consistency that it was given: `construct_guarantee_ts`
    sends `use_default_consistency` instead. A collection's default is Bounded, so its iterator misses what was written
    some tenths of a second ago.
    """
    from pymilvus.grpc_gen import common_pb2, milvus_pb2

    params = {
        "limit": _MAX_ROWS,  # stays first: `pages` changes it
        "iterator": True,  # rows in order, and no page ends further than all segments have been read
        "reduce_stop_for_best": True,
        "collection_id": number,
    }
    return milvus_pb2.QueryRequest(
        collection_name=name,
        output_fields=fields,
        consistency_level=common_pb2.ConsistencyLevel.Value(consistency),
        query_params=[common_pb2.KeyValuePair(key=key, value=str(value)) for key, value in params.items()],
    )


def _page(answer: Any) -> tuple[list[dict[str, Any]], str]:
    """Return an answer's rows, made from its columns as pymilvus does, and the id of the last one."""
    from pymilvus.client.entity_helper import extract_dynamic_field_from_result, extract_row_data_from_fields_data_v2
    from pymilvus.client.types import HybridExtraList

    ids = next((field.scalars.string_data.data for field in answer.fields_data if field.field_name == PRIMARY_KEY), ())
    if not ids:
        return [], ""
    found: list[dict[str, Any]] = [{} for _ in ids]
    late = [column for column in answer.fields_data if extract_row_data_from_fields_data_v2(column, found)]
    _, dynamic = extract_dynamic_field_from_result(answer)
    return HybridExtraList(late, found, dynamic_fields=dynamic), ids[-1]
