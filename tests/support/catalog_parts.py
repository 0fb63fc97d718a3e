"""Catalogs, whole or in parts, in every format there is."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pyarrow as pa
from pyarrow import parquet

HEADER = ("product_id", "image", "title")


def written(kind: str, table: list[tuple[str, str, str]]) -> bytes:
    """Return a file of this kind with these rows of (id, image, title)."""
    records = [dict(zip(HEADER, row, strict=True)) for row in table]
    if kind == ".parquet":
        stream = io.BytesIO()
        schema = pa.schema([(name, pa.string()) for name in HEADER])
        parquet.write_table(pa.Table.from_pylist(records, schema), stream, row_group_size=1000)
        return stream.getvalue()
    if kind.startswith(".jsonl"):
        text = "".join(json.dumps(record) + "\n" for record in records)
    else:
        buffer = io.StringIO(newline="")
        csv.writer(buffer, delimiter="\t" if kind == ".tsv" else ",").writerows([HEADER, *table])
        text = buffer.getvalue()
    return gzip.compress(text.encode()) if kind.endswith(".gz") else text.encode()
