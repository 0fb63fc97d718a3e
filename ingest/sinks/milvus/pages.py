"""Reads rows in pages of a size that the server can answer.

No Milvus answers with more than 100 MiB (quotaAndLimits.limits.maxOutputSize), whatever a row's fields take. A page
that is refused for its size is asked for again by halves: rows of ids and digests are read by the thousands, rows with
long texts by as many as fit.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ingest.contract import PRIMARY_KEY
from ingest.errors import MilvusError
from ingest.sinks.milvus import troubles
from ingest.sinks.milvus.connection import CALL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.sinks.milvus.connection import Connection

_MOST_ROWS = 16_384
"""The most that an iterator may ask for at a time; 1,000 is 3 to 8 times slower."""


def pages(connection: Connection, name: str, fields: list[str], consistency: str) -> Iterator[list[dict[str, Any]]]:
    """Yield all rows of a collection with these fields, thousands at a time."""
    doing = f"read all rows of {name}"
    # pymilvus (3.0.2) opens an iterator by a call without a timeout: one with it finds out first that a server is away.
    connection.call(doing, connection.client.describe_collection, name)
    iterator = connection.call(
        doing,
        connection.client.query_iterator,
        name,
        batch_size=_MOST_ROWS,
        filter="",
        output_fields=fields,
        consistency_level=consistency,
    )
    try:
        while page := _next(connection, doing, iterator):
            # pymilvus (3.0.2) puts the last id into its next filter between quotes, as it is: quote" breaks it.
            if isinstance(last := getattr(iterator, "_next_id", None), str):
                iterator._next_id = json.dumps(last, ensure_ascii=False)[1:-1]  # noqa: SLF001
            yield page
    finally:
        iterator.close()


def rows(
    connection: Connection, name: str, product_ids: Sequence[str], fields: list[str], consistency: str | None = None
) -> list[dict[str, Any]]:
    """Return the rows of these products with these fields, those that exist; None is the collection's consistency."""
    asked = {"consistency_level": consistency} if consistency else {}
    try:
        found: list[dict[str, Any]] = connection.call(
            f"read rows of {name}", connection.client.query, name, filter=among(product_ids), output_fields=fields,
            timeout=CALL_TIMEOUT_S, **asked,
        )  # fmt: skip
    except MilvusError as error:
        if len(product_ids) == 1 or not troubles.is_too_large(error.__cause__):
            raise
        middle = len(product_ids) // 2
        halves = product_ids[:middle], product_ids[middle:]
        return [row for half in halves for row in rows(connection, name, half, fields, consistency)]
    return found


def among(product_ids: Sequence[str]) -> str:
    """Return a filter for these primary keys, as JSON quotes them: pymilvus' own way breaks on a quote."""
    return f"{PRIMARY_KEY} in {json.dumps(list(product_ids), ensure_ascii=False)}"


def _next(connection: Connection, doing: str, iterator: Any) -> list[dict[str, Any]]:
    """Return the next page; from one that is too large on, an iterator asks for half as many rows."""
    while True:
        try:
            page: list[dict[str, Any]] = connection.call(doing, iterator.next)
        except MilvusError as error:
            # pymilvus (3.0.2) moves its iterator on when a page has come, and reads its size before each.
            options = iterator._query_options  # noqa: SLF001
            if options["batch_size"] == 1 or not troubles.is_too_large(error.__cause__):
                raise
            options["batch_size"] = options["limit"] = options["batch_size"] // 2
        else:
            return page
