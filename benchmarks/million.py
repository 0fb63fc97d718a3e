"""A million products in one catalog: plan, export, FAISS, checking the files, and a collection with nothing to do.

    python benchmarks/million.py [--uri http://localhost:19530] [--quick] [--json FILE]

Vectors (128-dim) are put straight into the store, so that no model and no images are needed, in another order than the
catalog's, which is the worst case. Each part is its own process: `peak_mb` is its peak memory, `start_mb` its memory
after the imports. With --uri the rows are upserted into a collection, and compared with the catalog again when there is
nothing to do; the collection of an earlier benchmark is dropped.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
import numpy as np
from sync import key_of, pictures, stored

from ingest.core import contract_file
from ingest.core.contract import Space
from ingest.core.settings import MilvusSettings
from ingest.exports import faiss_index, npy_files
from ingest.exports.row_list import ExportRows
from ingest.milvus import reader, writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.store.local import LocalStore
from ingest.store.stage import lookup
from ingest.sync import diff

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.core.contract import Contract

ROWS, QUICK_ROWS, DIM = 1_000_000, 20_000, 128
SHARD, CLUSTERS = 8192, 2000
SPACE = Space("benchmark", "1", DIM, {})


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--uri", help="a server or a Milvus Lite file (….db), for the last two parts")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="only these parts, in a --folder that has the rest")
    parser.add_argument("--folder", type=Path, help="keep catalog, store and files in this folder")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    count = options.rows or (QUICK_ROWS if options.quick else ROWS)
    if options.part:
        name, folder = options.part
        print(json.dumps(measured(name, Path(folder), count, options.uri)))
        return
    with tempfile.TemporaryDirectory() as spare:
        folder = options.folder or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "products.csv").exists():
            in_a_process("stock", folder, count, None)  # a child starts with its parent's peak memory
        wanted = options.only or [name for name in PARTS if options.uri or name not in ("load", "nothing_to_do")]
        found = [in_a_process(name, folder, count, options.uri) for name in wanted]
    by_name = {row["part"]: row for row in found}
    ratios = {f"{name}_s": row["seconds"] for name, row in by_name.items()}
    ratios |= {f"{name}_peak_mb": row["peak_mb"] for name, row in by_name.items()}
    bench.finish("million", found, ratios, options.json, ("faiss-cpu", "numpy", "pymilvus"))


def in_a_process(name: str, folder: Path, count: int, uri: str | None) -> dict[str, Any]:
    """Run a part in its own process, to measure its peak memory."""
    command = [sys.executable, __file__, "--part", name, str(folder), "--rows", str(count)]
    done = subprocess.run([*command, "--uri", uri] if uri else command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{name} failed")
    row: dict[str, Any] = json.loads(done.stdout)
    print(row, file=sys.stderr)
    return row


def measured(name: str, folder: Path, count: int, uri: str | None) -> dict[str, Any]:
    """Run a part in this process; return its time and peak memory."""
    contract = contract_file.load(contract_file.default_path())
    start, began = _peak_mb(), time.perf_counter()
    with closing(ExportRows(folder)) as wanted:
        done = stock(folder, count) if name == "stock" else PARTS[name](folder, contract, wanted, uri)
    seconds = time.perf_counter() - began
    assert done == count, (name, done)
    return {
        "part": name, "rows": count, "seconds": round(seconds, 2), "rows_per_s": round(count / seconds),
        "start_mb": start, "peak_mb": _peak_mb(),
    }  # fmt: skip


def stock(folder: Path, count: int) -> int:
    """Write the catalog, and a store with its vectors in another order."""
    random = np.random.default_rng(0)
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("product_id", "image", "title", "category", "colour", "price", "brand"))
        for n in range(count):
            table.writerow((f"P{n:07d}", f"{n}.jpg", f"Product {n}", "mugs", "red", f"{n % 97}.5", "Acme"))
    centres = random.normal(size=(CLUSTERS, DIM)).astype(np.float32)
    store = LocalStore(folder / "store", DIM)
    shuffled = random.permutation(count)
    for start in range(0, count, SHARD):
        numbers = shuffled[start : start + SHARD]
        vectors = centres[random.integers(0, CLUSTERS, len(numbers))]
        vectors = vectors + 0.7 * random.normal(size=(len(numbers), DIM)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        store.add([key_of(f"{n}.jpg") for n in numbers], vectors.astype(np.float32))
    return count


def plan(folder: Path, contract: Contract, wanted: ExportRows, _uri: str | None) -> int:
    """Read the catalog and look every vector up, as a run against an empty collection does."""
    store = LocalStore(folder / "store", DIM)
    return sum(1 for _ in lookup(wanted.note(pictures(folder, contract)), store))


def export(folder: Path, contract: Contract, wanted: ExportRows, _uri: str | None) -> int:
    """Write the .npy pair, including the time to read the catalog."""
    store = LocalStore(folder / "store", DIM)
    for _ in wanted.note(pictures(folder, contract)):
        pass
    return npy_files.write(folder / "x.npy", folder / "x.json", wanted, store, SPACE.fingerprint).rows


def build(folder: Path, contract: Contract, _wanted: ExportRows, _uri: str | None) -> int:
    """Build the FAISS index over the pair, with the contract's M and efConstruction."""
    return faiss_index.build(folder / "x.npy", folder / "x.json", folder / "indexes", contract.index).rows


def verify(folder: Path, contract: Contract, wanted: ExportRows, _uri: str | None) -> int:
    """Check the files against catalog and store, and load the index, as `ingest verify` does."""
    store = LocalStore(folder / "store", DIM)
    for _ in wanted.note(pictures(folder, contract)):
        pass
    content = npy_files.content_digest(wanted, store)
    assert not npy_files.faults(folder / "x.npy", folder / "x.json", (content, SPACE.fingerprint))
    assert not faiss_index.faults(folder / "indexes", DIM, folder / "x.npy")
    return len(faiss_index.open_index(folder / "indexes", DIM).known)


def load(folder: Path, contract: Contract, _wanted: ExportRows, uri: str | None) -> int:
    """Fill the collection from the store by upserts."""
    with connect(MilvusSettings(uri or "", max_wait=60)) as connection:
        collection = Collection(connection, contract, SPACE)
        if collection.exists():
            connection.client.drop_collection(collection.name)
        collection.prepare()
        records = stored(pictures(folder, contract), LocalStore(folder / "store", DIM))
        written = sum(1 for _ in writer.upsert(records, collection))
        collection.flush()
        return written


def nothing_to_do(folder: Path, contract: Contract, wanted: ExportRows, uri: str | None) -> int:
    """Compare the catalog with a collection that holds all of it, as `ingest plan` does."""
    store = LocalStore(folder / "store", DIM)
    with connect(MilvusSettings(uri or "", max_wait=60)) as connection:
        collection = Collection(connection, contract, SPACE)
        assert collection.ready()
        difference = diff.CollectionDiff(reader.read_inventory(collection, store), SPACE.fingerprint)
        assert not list(difference.changes(wanted.note(pictures(folder, contract))))
        return difference.unchanged


PARTS: dict[str, Callable[[Path, Contract, ExportRows, str | None], int]] = {
    "plan": plan, "export": export, "faiss": build, "verify": verify, "load": load, "nothing_to_do": nothing_to_do
}  # fmt: skip


def _peak_mb() -> float:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / (2**20 if sys.platform == "darwin" else 1024), 1)


if __name__ == "__main__":
    main()
