"""Recall and latency of filtered searches, by the number of rows and the share of them that match.

    python benchmarks/filtered.py [--rows N …] [--vectors random] [--uri URI] [--quick] [--json FILE]

Milvus Lite by default; --uri names a server. The vectors (512-dim, unit length) are in clusters, or anywhere with
--vectors random. One kind of filter matches products anywhere (`price < x`), the other matches whole clusters
(`category < "x"`), most of them far from the query. `recall@10` compares the scores with the exact ones over all
matching rows; `short` counts answers with fewer hits than possible. `cpu_…` is the process's CPU time, including
Milvus Lite's: what a query costs on a machine that is busy with other work.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
import drawn
import numpy as np

from ingest.core import contract_file
from ingest.core.contract import Space
from ingest.core.settings import MilvusSettings
from ingest.milvus.alias import switch
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.search.milvus_backend import SearchableCollection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest.milvus.connection import Connection

ROWS, QUICK_ROWS, DIM, CLUSTERS = (300, 20_000, 200_000), (300, 2_000), 512, 2_000
PERCENT = (0.05, 1.0, 10.0, 50.0)
TOP, SAME_SCORE = 10, 1e-5
SPACE = Space("benchmark", "1", DIM, {})
CONTRACT = replace(contract_file.load(contract_file.default_path()), alias=drawn.ALIAS)


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", help="numbers of rows (default: 300, 20,000 and 200,000)")
    parser.add_argument("--vectors", choices=("clustered", "random"), default="clustered")
    parser.add_argument(
        "--queries", type=int, default=100, help="queries of each kind; at most 30 from 100,000 rows on"
    )
    parser.add_argument("--uri", default="", help="a Milvus server to write to (default: Milvus Lite)")
    arguments = parser.parse_args()
    sizes = arguments.rows or (QUICK_ROWS if arguments.quick else ROWS)
    found = []
    for rows in sizes:
        queries = min(arguments.queries, rows, 20 if arguments.quick else 30 if rows >= 100_000 else rows)
        with tempfile.TemporaryDirectory() as folder:
            if arguments.uri:
                drawn.forget(arguments.uri)
            with connect(MilvusSettings(arguments.uri or str(Path(folder) / "milvus.db"), max_wait=60)) as connection:
                found += measured(connection, Stock(rows, spread=arguments.vectors == "random"), queries)
    worst = {"lowest_recall": min(row["recall@10"] for row in found), "short": sum(row["short"] for row in found)}
    bench.finish("filtered", found, worst, arguments.json, ("pymilvus", "milvus-lite", "numpy"))


class Stock:
    """Products in memory: vectors (n, dim), the cluster of each, and a price that is independent of both."""

    def __init__(self, rows: int, *, spread: bool) -> None:
        chance = np.random.default_rng(0)
        self.clusters = chance.integers(0, min(CLUSTERS, rows), rows)
        self.vectors = chance.normal(size=(rows, DIM)).astype(np.float32)
        if not spread:
            centres = chance.normal(size=(CLUSTERS, DIM)).astype(np.float32)
            self.vectors = centres[self.clusters] + 0.7 * self.vectors
        self.vectors /= np.linalg.norm(self.vectors, axis=1, keepdims=True)
        self.prices = chance.random(rows) * 100

    def row(self, number: int) -> dict[str, Any]:
        """Return a row for `MilvusClient.upsert`."""
        return {
            "product_id": f"P{number}", "embedding": self.vectors[number], "row_digest": "0" * 32,
            "image_sha256": "0" * 64, "title": f"Product {number}", "category": f"{self.clusters[number]:06d}",
            "colour": "red", "price": float(self.prices[number]), "brand": "Acme", "image": f"{number}.jpg",
        }  # fmt: skip

    def filters(self) -> list[tuple[str, str, str, NDArray[np.bool_]]]:
        """Return (percent, kind, expression, which rows match)."""
        every = [("all", "", "", np.ones(len(self.vectors), bool))]
        for percent in PERCENT:
            price = max(percent, float(np.sort(self.prices)[1]))  # one product at least
            below = max(1, round(min(CLUSTERS, len(self.vectors)) * percent / 100))
            every.append((f"{percent:g}", "anywhere", f"price < {price!r}", self.prices < price))
            every.append((f"{percent:g}", "clusters", f'category < "{below:06d}"', self.clusters < below))
        return every


def measured(connection: Connection, stock: Stock, queries: int) -> list[dict[str, Any]]:
    """Fill a collection, run the queries one after another, and return a row for each filter."""
    collection = Collection(connection, CONTRACT, SPACE)
    collection.prepare()
    rows = len(stock.vectors)
    for start in range(0, rows, 1000):
        connection.client.upsert(collection.name, [stock.row(n) for n in range(start, min(start + 1000, rows))])
    collection.flush()
    if collection.is_indexed:
        time.sleep(2)  # until the server begins to index
        while (collection.index() or {}).get("pending_index_rows"):
            time.sleep(1)
    switch(connection, CONTRACT.alias, collection.name, None)
    served = SearchableCollection(connection, CONTRACT.alias)
    asked = stock.vectors[np.random.default_rng(1).permutation(rows)[:queries]]
    served.search(asked[0], TOP)
    found = []
    for percent, kind, expression, matching in stock.filters():
        seconds, cpu, recalls, short = [], [], [], 0
        known = stock.vectors[matching]
        for query in asked:
            began, used = time.perf_counter(), time.process_time()
            hits = served.search(query, TOP, expression)
            seconds.append(time.perf_counter() - began)
            cpu.append(time.process_time() - used)
            recalls.append([hit.score for hit in hits])
        shares = []
        for query, scores in zip(asked, recalls, strict=True):
            exact = np.sort(known @ query)[::-1][:TOP]
            shares.append(sum(score >= exact[-1] - SAME_SCORE for score in scores) / len(exact) if len(exact) else 1.0)
            short += len(scores) < len(exact)
        found.append({
            "rows": rows, "percent": percent, "matching": kind, "products": int(matching.sum()),
            "recall@10": float(np.mean(shares)), "short": short,
            **{f"p{at}_ms": 1e3 * float(np.percentile(seconds, at)) for at in (50, 99)},
            **{f"cpu_p{at}_ms": 1e3 * float(np.percentile(cpu, at)) for at in (50, 99)},
        })  # fmt: skip
    return found


if __name__ == "__main__":
    main()
