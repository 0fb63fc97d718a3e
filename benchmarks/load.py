"""Loading 50,000 × 512 from the store into Milvus: ingest, a plain `MilvusClient.upsert` loop, and langchain-milvus.

    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install langchain-milvus milvus-lite
    python benchmarks/load.py --uri http://localhost:19530 --langchain-milvus /tmp/peer/bin/python [--json FILE]

Into Milvus Lite, and into a server if --uri names one. Each loads the same vectors and metadata in its own process,
timed from the first row to the end of a flush; CPU time is the client's, including Milvus Lite's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bench import finish, median, parser
from sync import stored

from ingest.core import contract_file
from ingest.core.contract import Space
from ingest.core.digest import row_digest
from ingest.core.records import ImageFile, Product
from ingest.core.settings import MilvusSettings
from ingest.milvus import writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.core.records import Scalar

ROWS, QUICK_ROWS, DIM, BATCH = 50_000, 2_000, 512, 1000
SPACE = Space("benchmark-load", "1", DIM, {})
ROUNDS = 2


def main() -> None:
    """Run each in turns, and compare ingest with the others."""
    flags = parser(__doc__)
    flags.add_argument("--uri", help="a Milvus server to write to, besides Milvus Lite")
    flags.add_argument("--langchain-milvus", metavar="PYTHON", help="a Python that has langchain-milvus")
    flags.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    arguments = flags.parse_args()
    if arguments.part:
        name, folder, uri = arguments.part
        print(json.dumps(part(name, Path(folder), uri)))
        return
    names = ["ours", "plain", *(["langchain"] if arguments.langchain_milvus else [])]
    count, rounds = (QUICK_ROWS, 1) if arguments.quick else (ROWS, ROUNDS)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, count)
        for target in ["lite", *(["server"] if arguments.uri else [])]:
            for number in range(rounds):
                for who in names:
                    uri = arguments.uri if target == "server" else str(folder / f"{who}{number}.db")
                    rows.append({"target": target, "who": who, "rows": count} | measured(who, folder, uri, arguments))
    ratios = {}
    for target in dict.fromkeys(row["target"] for row in rows):
        ours = median(rows, "rows_per_s", target=target, who="ours")
        for who, ratio in (("plain", "vs_plain_upsert"), ("langchain", "vs_langchain_milvus")):
            if who in names:
                ending = "" if target == "server" else "_lite"
                ratios[ratio + ending] = round(ours / median(rows, "rows_per_s", target=target, who=who), 2)
    finish("load", rows, ratios, arguments.json, ("pymilvus", "milvus-lite", "numpy"))


def measured(who: str, folder: Path, uri: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one part in its own process."""
    if who == "langchain":
        program = str(Path(__file__).with_name("load_langchain.py"))
        command = [arguments.langchain_milvus, program, str(folder), uri]
    else:
        command = [sys.executable, __file__, "--part", who, str(folder), uri]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1]
    return dict(json.loads(said))


def prepare(folder: Path, count: int) -> None:
    """Put unit vectors into a store, and into a `.npy` beside it for the contestants without a store."""
    vectors = np.random.default_rng(0).normal(size=(count, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    np.save(folder / "vectors.npy", vectors)
    store = LocalStore(folder / "store", DIM)
    for start in range(0, count, 8192):
        some = range(start, min(start + 8192, count))
        store.add([key_of(number) for number in some], vectors[start : some.stop])


def key_of(number: int) -> bytes:
    return number.to_bytes(32, "big")


def pictures(folder: Path, count: int) -> Iterator[ImageFile]:
    for number in range(count):
        metadata: dict[str, Scalar] = {
            "title": f"Product {number}", "category": "mugs", "colour": "red", "price": number % 97 + 0.5,
            "brand": "Acme", "image": f"{number}.jpg",
        }  # fmt: skip
        yield ImageFile(Product(f"P{number:07d}", f"{number}.jpg", metadata, number), folder, key_of(number))


def part(name: str, folder: Path, uri: str) -> dict[str, Any]:
    """Load everything into a new collection; return the figures."""
    store = LocalStore(folder / "store", DIM)
    with connect(MilvusSettings(uri, max_wait=60)) as connection:
        collection = Collection(connection, contract_file.load(contract_file.default_path()), SPACE)
        if collection.exists():
            connection.client.drop_collection(collection.name)
        collection.prepare()
        started, cpu = time.monotonic(), time.process_time()
        (plain if name == "plain" else ours)(folder, collection, store)
        collection.flush()
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        assert collection.count() == store.rows
        collection.wait_for_index(threading.Event())  # so that the next part has the machine to itself
        connection.client.drop_collection(collection.name)
    return {"seconds": round(seconds, 2), "rows_per_s": round(store.rows / seconds, 1), "cpu_seconds": round(cpu, 2)}


def ours(folder: Path, collection: Collection, store: LocalStore) -> None:
    """Look the vectors up and upsert, as a run does."""
    assert sum(1 for _ in writer.upsert(stored(pictures(folder, store.rows), store), collection)) == store.rows


def plain(folder: Path, collection: Collection, store: LocalStore) -> None:
    """Make a dictionary of each row, and upsert 1,000 at a time."""
    batch: list[dict[str, Any]] = []
    vectors = np.load(folder / "vectors.npy")
    for number, picture in enumerate(pictures(folder, store.rows)):
        product = picture.product
        digest = row_digest(product, picture.sha256, SPACE.fingerprint)
        batch.append({**product.metadata, "product_id": product.product_id, "embedding": vectors[number].tolist(),
                      "row_digest": digest, "image_sha256": picture.sha256.hex()})  # fmt: skip
        if len(batch) == BATCH:
            collection.connection.client.upsert(collection.name, batch)
            batch = []
    if batch:
        collection.connection.client.upsert(collection.name, batch)


if __name__ == "__main__":
    main()
