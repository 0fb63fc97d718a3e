"""Building and searching the FAISS index of an export, compared with calling faiss directly, and its recall.

    python benchmarks/index.py [--rounds N] [--quick] [--json FILE]

100,000 unit vectors of 512 numbers in 1,000 clusters; 1,000 queries from the same clusters, on one thread, with the
contract's M, efConstruction and ef. Both builds read the vectors from a .npy and leave an index on disk.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
import faiss
import numpy as np

from ingest.core import contract_file
from ingest.exports import faiss_index as sink

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest.core.contract import HnswIndex

ROWS, QUICK_ROWS, DIM, CLUSTERS, QUERIES, TOP = 100_000, 20_000, 512, 1000, 1000, 10
SPREAD = 0.6
"""The length of the noise relative to a centre's: rows of a cluster have cosines of about 0.74."""
ROUNDS = 2


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"builds of each (default: {ROUNDS})")
    arguments = parser.parse_args()
    count = QUICK_ROWS if arguments.quick else ROWS
    index = contract_file.load(contract_file.default_path()).index
    chance = np.random.default_rng(0)
    centres = unit(chance.normal(size=(CLUSTERS, DIM)))
    vectors, queries = clustered(centres, count, chance), clustered(centres, QUERIES, chance)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "rows.npy", vectors)
        (folder / "rows.json").write_text(json.dumps([f"P{number}" for number in range(count)]), encoding="utf-8")
        for number in range(1 if arguments.quick else arguments.rounds):
            rows += [built("ingest", folder / f"ingest{number}", folder, index)]
            rows += [built("faiss", folder / f"faiss{number}", folder, index)]
        found = searched(sink.open_index(folder / "ingest0", DIM), queries, exact(vectors, queries), index)
    ours, theirs = (bench.median(rows, "seconds", what=what) for what in ("ingest", "faiss"))
    ratios = {
        "build_vs_faiss": round(ours / theirs, 3),
        **{name: found[name] for name in ("recall_at_10", "p50_ms", "p99_ms", "queries_per_s")},
    }
    print(f"{count:,} x {DIM}, M {index.m}, efConstruction {index.ef_construction}, ef {index.ef}")
    bench.finish("index", rows, ratios, arguments.json, ["faiss-cpu", "numpy"])


def clustered(centres: NDArray[np.float32], count: int, chance: np.random.Generator) -> NDArray[np.float32]:
    noise = unit(chance.normal(size=(count, DIM)))
    return unit(centres[chance.integers(0, len(centres), count)] + SPREAD * noise)


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / lengths, np.float32)


def built(what: str, to: Path, folder: Path, index: HnswIndex) -> dict[str, Any]:
    """Build on all cores, from the .npy to files that are synced to disk."""
    to.mkdir()
    started = time.perf_counter()
    if what == "ingest":
        sink.build(folder / "rows.npy", folder / "rows.json", to, index)
    else:
        direct(folder / "rows.npy", to / "index.faiss", index)
    return {"what": what, "seconds": round(time.perf_counter() - started, 2)}


def direct(npy: Path, to: Path, index: HnswIndex) -> None:
    rows = np.load(npy)
    graph = faiss.IndexHNSWFlat(DIM, index.m, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = index.ef_construction
    graph.add(rows)
    faiss.write_index(graph, str(to))
    with to.open("rb") as file:
        os.fsync(file.fileno())


def exact(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    flat = faiss.IndexFlatIP(DIM)
    flat.add(vectors)
    nearest: NDArray[np.int64] = flat.search(queries, TOP)[1]
    return nearest


def searched(
    opened: sink.FaissIndex, queries: NDArray[np.float32], nearest: NDArray[np.int64], index: HnswIndex
) -> dict[str, float]:
    faiss.omp_set_num_threads(1)
    for query in queries[:100]:
        opened.search(query, TOP, index.ef)
    seconds, right = [], 0
    for query, expected in zip(queries, nearest, strict=True):
        started = time.perf_counter()
        hits = opened.search(query, TOP, index.ef)
        seconds.append(time.perf_counter() - started)
        right += len({name for name, _ in hits} & {f"P{row}" for row in expected})
    return {
        "recall_at_10": round(right / nearest.size, 4),
        "p50_ms": round(float(np.percentile(seconds, 50)) * 1000, 3),
        "p99_ms": round(float(np.percentile(seconds, 99)) * 1000, 3),
        "queries_per_s": round(len(seconds) / sum(seconds), 1),
    }


if __name__ == "__main__":
    main()
