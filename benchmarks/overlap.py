"""How well the stages overlap: the time of a whole run, beside that of each of its stages alone.

    python benchmarks/overlap.py --uri http://localhost:19530 [--folder DRAWN] [--model MODEL] [--rounds N]
        [--quick] [--json FILE]

2,000 drawn pictures of 320 x 320, on disk, and the sample model. Each is measured in a process of its own that has
imported torch, transformers and pymilvus and connected before; loading the model is part of the run and of the
embedding stage alone. A stage alone has what it works on in memory, or for pictures on disk, before the time begins.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
import drawn

from ingest import pipeline
from ingest.config import Settings
from ingest.embedding.device import import_torch
from ingest.embedding.encoder import embed
from ingest.line import Line
from ingest.progress import Progress
from ingest.sinks import faiss
from ingest.sinks.milvus import writer
from ingest.sinks.milvus.collection import Collection
from ingest.sinks.milvus.connection import opened
from ingest.store import arrays
from ingest.store.shards import Store
from ingest.store.stage import append

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ingest.records import Embedded, Skipped

PRODUCTS, QUICK_PRODUCTS, SIDE, BATCH = 2000, 300, 320, 32
ROUNDS = 3
PARTS = ("run", "images", "decode", "embedding", "store", "milvus", "exports")


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--uri", default="", help="a Milvus server that may be written to; without one, Milvus Lite")
    parser.add_argument("--folder", type=Path, help="draw the catalog here, or take the one that is there")
    parser.add_argument("--model", default=str(drawn.MODEL))
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each; {ROUNDS} if left out")
    parser.add_argument("--part", help="the part that this process is for")
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(measured(arguments.part, arguments.folder, arguments.uri, arguments.model)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        drawn.draw(folder, QUICK_PRODUCTS if arguments.quick else PRODUCTS, SIDE)
        runs = [
            apart(part, folder, arguments.uri, arguments.model)
            for _ in range(1 if arguments.quick else arguments.rounds)
            for part in PARTS
        ]
    names = ("seconds", "cpu_s")
    rows = [{"what": part, **{name: bench.median(runs, name, what=part) for name in names}} for part in PARTS]
    alone = {row["what"]: row for row in rows if row["what"] != "run"}
    slowest = max(alone, key=lambda part: alone[part]["seconds"])
    ratios: dict[str, float | str] = {
        "slowest_stage": slowest,
        "wall_vs_slowest_stage": round(rows[0]["seconds"] / alone[slowest]["seconds"], 3),
        "wall_vs_stages_in_turn": round(rows[0]["seconds"] / sum(row["seconds"] for row in alone.values()), 3),
        "cores_busy": round(rows[0]["cpu_s"] / rows[0]["seconds"], 2),
    }
    bench.finish("overlap", rows, ratios, arguments.json, ["torch", "transformers", "pymilvus"])


def apart(part: str, folder: Path, uri: str, model: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder), "--uri", uri, "--model", model]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(part: str, folder: Path, uri: str, model: str) -> dict[str, Any]:
    import_torch()
    import pymilvus  # noqa: F401
    from transformers import AutoModel  # noqa: F401  imported lazily, which takes as long as torch does

    with tempfile.TemporaryDirectory() as data, ExitStack() as stack:
        schema = drawn.schema(Path(data))
        settings = Settings(catalog=folder / "products.csv", schema=schema, data=Path(data), model=model, uri=uri)
        work = prepared(part, settings, stack)
        wall, cpu = time.perf_counter(), cpu_seconds()
        work()
        return {
            "what": part,
            "seconds": round(time.perf_counter() - wall, 3),
            "cpu_s": round(cpu_seconds() - cpu, 3),
        }


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def prepared(part: str, settings: Settings, stack: ExitStack) -> Callable[[], object]:
    """Return what to time: the whole run, or one stage with all that it works on at hand."""
    if "://" in settings.milvus_uri:
        drawn.forget(settings.milvus_uri)
    if part == "run":
        return lambda: pipeline.run(settings, Progress(), threading.Event())
    line = Line(stack, settings, Progress(), threading.Event())
    if part == "images":
        return lambda: exhaust(line.pictures())
    pictures = list(line.pictures())
    if part == "decode":
        return lambda: exhaust(line.pixels(pictures))
    if part == "embedding":
        decoded = list(line.pixels(pictures))
        model = line.encoder()
        return lambda: exhaust(embed(decoded, model, model.size))
    return kept(part, line, list(line.embedded(pictures)), stack)


def kept(part: str, line: Line, embedded: list[Embedded | Skipped], stack: ExitStack) -> Callable[[], object]:
    """Return one of the stages that put vectors where they stay."""
    settings = line.settings
    if part == "store":
        return lambda: exhaust(append(embedded, Store(settings.data / "alone", line.space.dim), BATCH))
    if part == "exports":

        def export() -> None:
            arrays.write(settings.npy, settings.npy_ids, line.wanted, line.store, line.space.fingerprint)
            faiss.build(settings.npy, settings.npy_ids, settings.indexes, line.contract.index)

        return export

    connection = stack.enter_context(opened(settings.milvus_uri, "", "", 60))
    collection = Collection(connection, line.contract, line.space)

    def fill() -> None:
        collection.prepare()
        exhaust(writer.upsert(embedded, collection))
        collection.flush()

    return fill


def exhaust(records: Iterable[object]) -> None:
    for _ in records:
        pass


if __name__ == "__main__":
    main()
