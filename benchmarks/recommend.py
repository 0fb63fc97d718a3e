"""The neighbours of all products from the FAISS files: `ingest recommend --all`, and a plain loop over the same index.

    python benchmarks/recommend.py [--quick] [--json FILE]

100,000 products of 512 dimensions, clustered as the images of a catalog are; one in ten has another product's image.
The index is built beforehand: measured are loading it, searching, filtering, and writing the Parquet file. The plain
loop searches for one product after another, as people write it by hand, for a sample of products, and writes nothing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
import faiss
import numpy as np

from ingest.core.contract_file import default_path, load
from ingest.exports import faiss_index as files
from ingest.exports import npy_files
from ingest.search import neighbours
from ingest.search.recommend import RecommendOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS, QUICK_ROWS, DIM, CLUSTERS = 100_000, 20_000, 512, 500
LIMIT = 10
PLAIN = 2_000  # products in the plain loop
WISHES = {"nearest": RecommendOptions(limit=LIMIT), "diverse": RecommendOptions(limit=LIMIT, balance=0.5)}


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--folder", type=Path, help="keep the index in this folder, or use the one in it")
    parser.add_argument("--only-build", action="store_true", help="build the index in --folder, and measure nothing")
    arguments = parser.parse_args()
    count = QUICK_ROWS if arguments.quick else ROWS
    with tempfile.TemporaryDirectory() as folder:
        place = arguments.folder or Path(folder)
        prepare(place, count)
        if not arguments.only_build:
            results = measured(place)
            rates = {row["what"]: row["products_per_s"] for row in results}
            ratios = {f"vs_plain_{name}": rates[name] / rates["plain loop"] for name in WISHES}
            bench.finish("recommend", results, ratios, arguments.json, ["faiss-cpu", "numpy", "pyarrow"])


def prepare(folder: Path, count: int) -> None:
    """Write the `.npy` pair and build the index, unless they exist."""
    if files.IndexFiles.of(folder, DIM).index.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "rows.npy", vectors(count))
    names = ",".join(f'"P{number:07d}"' for number in range(count))
    (folder / "ids.json").write_text(f"[{names}]", encoding="utf-8")
    files.build(folder / "rows.npy", folder / "ids.json", folder, load(default_path()).index)


def vectors(count: int) -> NDArray[np.float32]:
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(CLUSTERS, DIM))
    rows = centres[chance.integers(0, CLUSTERS, count)] + 0.7 * chance.normal(size=(count, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    shared = chance.permutation(count)[: count // 10]
    rows[shared] = rows[chance.integers(0, count, len(shared))]
    return rows.astype(np.float32)


def measured(folder: Path) -> list[dict[str, Any]]:
    ef = load(default_path()).index.ef
    results = []
    for name, wish in WISHES.items():
        began = time.monotonic()
        index = files.open_index(folder, DIM)
        found = neighbours.write(neighbours.all_neighbours(index, wish, ef, {}), index.names, folder / "out.parquet")
        results.append(row(name, found.products, time.monotonic() - began))
    graph = faiss.read_index(str(files.IndexFiles.of(folder, DIM).index))
    assert isinstance(graph, faiss.IndexHNSW)
    names = npy_files.read_ids(files.IndexFiles.of(folder, DIM).product_ids)
    graph.hnsw.efSearch = ef
    queries = np.load(folder / "rows.npy", mmap_mode="r")[:PLAIN]
    began = time.monotonic()
    for number, query in enumerate(queries):
        scores, found_rows = graph.search(query[None], LIMIT + 1)
        [(names[one], score) for one, score in zip(found_rows[0], scores[0], strict=True) if one != number][:LIMIT]
    results.append(row("plain loop", PLAIN, time.monotonic() - began))
    return results


def row(what: str, products: int, seconds: float) -> dict[str, Any]:
    print(f"{what}: {products / seconds:,.0f} products/s", file=sys.stderr, flush=True)
    return {"what": what, "products": products, "seconds": seconds, "products_per_s": products / seconds}


if __name__ == "__main__":
    main()
