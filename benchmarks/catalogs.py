"""How fast each format of a catalog is read, and in how much memory, beside pandas and DuckDB reading the same.

    python benchmarks/catalogs.py [--rows N] [--quick] [--json FILE]

Each reading is a process of its own: rows a second from its first row to its last, and the peak of its memory above
what its imports take. pandas reads in chunks where it can; DuckDB takes part if it is installed. What they read is a
table of text: neither names damaged lines, compares ids, or types cells by a contract.
"""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import bench

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS, QUICK_ROWS = 1_000_000, 20_000
CHUNK = 50_000
HEADER = ("product_id", "image", "title", "category", "price")


def row(number: int) -> tuple[str, ...]:
    return (
        f"P{number:07d}",
        f"images/{number}.jpg",
        f"Red mug, number {number}",
        "mugs",
        f"{number % 90_000 / 100:.2f}",
    )


def write_delimited(path: Path, rows: int, delimiter: str, encoding: str, *, comma: bool = False) -> None:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(HEADER)
        for number in range(rows):
            *cells, price = row(number)
            writer.writerow([*cells, price.replace(".", ",") if comma else price])


def write_lines(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(dict(zip(HEADER, row(number), strict=True))) + "\n" for number in range(rows))


def write_array(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number in range(rows):
            file.write(("," if number else "") + json.dumps(dict(zip(HEADER, row(number), strict=True))))
        file.write("]")


def write_feed(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel>\n')
        for number in range(rows):
            key, image, title, category, price = map(escape, row(number))
            file.write(
                f"<item><g:id>{key}</g:id><g:image_link>{image}</g:image_link><g:title>{title}</g:title>"
                f"<g:product_type>{category}</g:product_type><g:price>{price} EUR</g:price></item>\n"
            )
        file.write("</channel></rss>\n")


def write_parquet(path: Path, rows: int) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = list(zip(*map(row, range(rows)), strict=True))
    table = pa.table({name: list(column) for name, column in zip(HEADER, columns, strict=True)})
    parquet.write_table(table, path, row_group_size=100_000)


def write_shop(path: Path, rows: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Handle", "Title", "Vendor", "Type", "Variant SKU", "Variant Price", "Image Src"])
        for number in range(rows):
            key, image, title, category, price = row(number)
            first = number % 2 == 0
            writer.writerow([f"H{number // 2}", title if first else "", "", category, key, price, image])


FORMATS: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "CSV": (".csv", lambda path, rows: write_delimited(path, rows, ",", "utf-8")),
    "CSV with ;, decimal commas": (".csv", lambda path, rows: write_delimited(path, rows, ";", "utf-8", comma=True)),
    "TSV in UTF-16": (".txt", lambda path, rows: write_delimited(path, rows, "\t", "utf-16")),
    "Shopify": (".csv", write_shop),
    "JSON Lines": (".jsonl", write_lines),
    "JSON array": (".json", write_array),
    "Google XML": (".xml", write_feed),
    "Parquet": (".parquet", write_parquet),
}
PANDAS = {
    "CSV": "read_csv(path, dtype=str, chunksize=CHUNK)",
    "CSV with ;, decimal commas": "read_csv(path, dtype={'product_id': str}, sep=';', decimal=',', chunksize=CHUNK)",
    "TSV in UTF-16": "read_csv(path, dtype=str, sep='\t', encoding='utf-16', chunksize=CHUNK)",
    "Shopify": "read_csv(path, dtype=str, chunksize=CHUNK)",
    "JSON Lines": "read_json(path, lines=True, dtype=False, chunksize=CHUNK)",
    "JSON array": "read_json(path, dtype=False)",
    "Parquet": "read_parquet(path)",
}
DUCKDB = {
    "CSV": "read_csv('{path}', all_varchar=true)",
    "CSV with ;, decimal commas": "read_csv('{path}', delim=';', decimal_separator=',')",
    "JSON Lines": "read_json('{path}')",
    "JSON array": "read_json('{path}')",
    "Parquet": "read_parquet('{path}')",
}


def read_with_ingest(path: Path, _format: str) -> int:
    from ingest.catalog import reader
    from ingest.catalog.rows import Columns
    from ingest.core import contract_file

    contract = contract_file.load(contract_file.default_path())
    return sum(1 for _ in reader.read_catalog(path, contract, Columns()))


def read_with_pandas(path: Path, kind: str) -> int:
    import pandas as pd

    name, _, arguments = PANDAS[kind].partition("(")
    found = eval(f"read({arguments}", {"read": getattr(pd, name), "path": path, "CHUNK": CHUNK})  # noqa: S307  our own
    return sum(map(len, found)) if "chunksize" in arguments else len(found)


def read_with_duckdb(path: Path, kind: str) -> int:
    import duckdb

    cursor = duckdb.connect().execute(f"select * from {DUCKDB[kind].format(path=path)}")  # noqa: S608  a path of ours
    rows = 0
    while batch := cursor.fetchmany(CHUNK):
        rows += len(batch)
    return rows


READERS: dict[str, Callable[[Path, str], int]] = {
    "ingest": read_with_ingest,
    "pandas": read_with_pandas,
    "duckdb": read_with_duckdb,
}
IMPORTS = {"ingest": "ingest.catalog.reader, pyarrow.parquet", "pandas": "pandas, pyarrow.parquet", "duckdb": "duckdb"}


def measure(reader: str, kind: str, path: Path) -> bench.Row:
    """Read a file in a process of its own; return rows a second and the peak of memory in MB."""
    program = [sys.executable, __file__, "--read", reader, kind, str(path)]
    done = subprocess.run(program, check=True, capture_output=True, text=True)
    found: bench.Row = json.loads(done.stdout.splitlines()[-1])
    return {"what": kind, "reader": reader, **found}


def read_here(reader: str, kind: str, path: Path) -> None:
    """Be the process: print what `measure` returns."""
    for name in IMPORTS[reader].split(", "):
        __import__(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    rows = READERS[reader](path, kind)
    seconds = time.perf_counter() - started
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"rows": rows, "rows_per_s": round(rows / seconds), "peak_mb": round(peak, 1)}))


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--rows", type=int, default=0, help=f"rows of each file ({ROWS:,})")
    parser.add_argument("--read", nargs=3, help="what the processes of the benchmark are started with")
    arguments = parser.parse_args()
    if arguments.read:
        read_here(arguments.read[0], arguments.read[1], Path(arguments.read[2]))
        return
    rows = arguments.rows or (QUICK_ROWS if arguments.quick else ROWS)
    peers = [name for name in ("pandas", "duckdb") if find_spec(name)]
    table: list[bench.Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, (ending, write) in FORMATS.items():
            path = Path(folder) / f"p{ending}"
            write(path, rows)
            readers = ["ingest", *(one for one in peers if kind in {"pandas": PANDAS, "duckdb": DUCKDB}[one])]
            table += [measure(reader, kind, path) for reader in readers]
            path.unlink()
    speed = {(one["what"], one["reader"]): float(one["rows_per_s"]) for one in table}
    ratios = {
        f"{kind} vs {peer}": round(speed[kind, "ingest"] / speed[kind, peer], 3)
        for kind in FORMATS
        for peer in peers
        if (kind, peer) in speed
    }
    bench.finish("catalogs", table, ratios, arguments.json, ["pandas", "pyarrow"])


if __name__ == "__main__":
    main()
