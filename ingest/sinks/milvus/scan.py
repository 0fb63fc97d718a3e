"""All rows of a collection, thousands at a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ingest.contract import PRIMARY_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.sinks.milvus.connection import Connection

READ_ROWS = 16_384
"""The most an iterator may ask for at a time; 1,000 is 3 to 8 times slower."""


def scan(connection: Connection, name: str, fields: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows with these fields, every acknowledged one; the primary key must be among the fields."""
    iterator = connection.call(
        "read the rows", connection.client.query_iterator, name, batch_size=READ_ROWS, filter="",
        output_fields=fields, consistency_level="Strong",
    )  # fmt: skip
    try:
        while batch := connection.call("read the rows", iterator.next):
            # pymilvus (3.0.2) puts the last id into its next filter between quotes, as it is: quote" breaks it.
            if isinstance(last := getattr(iterator, "_next_id", None), str):
                iterator._next_id = json.dumps(last, ensure_ascii=False)[1:-1]  # noqa: SLF001
            yield batch
    finally:
        iterator.close()


def among(product_ids: Sequence[str]) -> str:
    """Return a filter for these primary keys, as JSON quotes them: pymilvus' own way breaks on a quote."""
    return f"{PRIMARY_KEY} in {json.dumps(list(product_ids), ensure_ascii=False)}"
