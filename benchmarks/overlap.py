"""How well the stages overlap: the time of a whole run, compared with that of each stage alone.

    python benchmarks/overlap.py --uri http://localhost:19530 [--folder DRAWN] [--model MODEL] [--rounds N]
        [--profile FILE] [--quick] [--json FILE]

2,000 drawn images of 320 x 320 on disk, and a model of the shape of ViT-B/32 with random weights; with --quick 200
images and the sample model. Each part runs in its own process, which has imported torch, transformers and pymilvus
before the clock starts. Loading the model counts for the run and for embedding alone, connecting for the run and for
Milvus alone. A single stage finds its input ready: in memory, or for the images stage on disk.
"""

from __future__ import annotations

import argparse
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
from embed import SHAPES, write_model

from ingest.core.settings import MilvusSettings, Settings
from ingest.embedding.device import import_torch
from ingest.embedding.encoder import embed
from ingest.exports import faiss_index, npy_files
from ingest.milvus import writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.pipeline.pipeline import Pipeline
from ingest.pipeline.progress import Progress
from ingest.runtime.profiler import StageProfiler
from ingest.runtime.trace import Trace
from ingest.store.local import LocalStore
from ingest.store.shard_writer import ShardWriter
from ingest.store.stage import append
from ingest.tasks import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ingest.core.records import Embedded, Skipped

PRODUCTS, QUICK_PRODUCTS, SIDE, BATCH = 2000, 200, 320, 32
ROUNDS = 3
KEEPING = ("store", "milvus", "exports")  # share vectors that the first of them embeds, untimed
PARTS = ("run", "images", "decode", "embedding", *KEEPING)


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--uri", default="", help="a Milvus server to write to (default: Milvus Lite)")
    parser.add_argument(
        "--folder", type=Path, help="draw the catalog in this folder, or use the one in it; vectors are kept too"
    )
    parser.add_argument("--model", help="another CLIP or SigLIP model")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of each part (default: {ROUNDS})")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="write a trace of the last run to this file")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(measured(arguments)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        drawn.draw(folder, QUICK_PRODUCTS if arguments.quick else PRODUCTS, SIDE)
        model = arguments.model or (drawn.MODEL if arguments.quick else None)
        model = model or write_model(Path(name) / "model", SHAPES["ViT-B/32"])
        flags = ["--folder", str(folder), "--uri", arguments.uri, "--model", str(model)]
        flags += ["--profile", str(arguments.profile)] if arguments.profile else []
        runs = [apart(part, flags) for _ in range(1 if arguments.quick else arguments.rounds) for part in PARTS]
    seconds, cpu_s = ({part: bench.median(runs, name, what=part) for part in PARTS} for name in ("seconds", "cpu_s"))
    rows: list[bench.Row] = [{"what": part, "seconds": seconds[part], "cpu_s": cpu_s[part]} for part in PARTS]
    alone = {part: seconds[part] for part in PARTS if part != "run"}
    slowest = max(alone, key=alone.__getitem__)
    ratios: dict[str, bench.Figure] = {
        "slowest_stage": slowest,
        "wall_vs_slowest_stage": round(seconds["run"] / alone[slowest], 3),
        "wall_vs_stages_in_turn": round(seconds["run"] / sum(alone.values()), 3),
        "cores_busy": round(cpu_s["run"] / seconds["run"], 2),
    }
    bench.finish("overlap", rows, ratios, arguments.json, ["torch", "transformers", "pymilvus"])


def apart(part: str, flags: list[str]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, "--part", part, *flags], check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(arguments: argparse.Namespace) -> dict[str, Any]:
    import pymilvus  # noqa: F401

    if arguments.part in ("run", "embedding"):
        import_torch()
        from transformers import AutoModel  # noqa: F401  imported lazily, which takes as long as torch does

    with tempfile.TemporaryDirectory() as data, ExitStack() as stack:
        settings = Settings(
            catalog=arguments.folder / "products.csv", schema=drawn.schema(Path(data)), data=Path(data),
            model=arguments.model, uri=arguments.uri,
            store=str(arguments.folder / "vectors") if arguments.part in KEEPING else "",
        )  # fmt: skip
        trace = stack.enter_context(Trace(arguments.profile)) if arguments.profile and arguments.part == "run" else None
        work = prepared(arguments.part, settings, trace, stack)
        wall, cpu = time.perf_counter(), cpu_seconds()
        work()
        return {
            "what": arguments.part,
            "seconds": round(time.perf_counter() - wall, 3),
            "cpu_s": round(cpu_seconds() - cpu, 3),
        }


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def prepared(part: str, settings: Settings, trace: Trace | None, stack: ExitStack) -> Callable[[], object]:
    """Return what to time: the whole run, or one stage with its input ready."""
    if "://" in settings.milvus_uri:
        drawn.forget(settings.milvus_uri)
    if part == "run":
        return lambda: run.run(settings, Progress(StageProfiler(trace)), threading.Event())
    pipeline = Pipeline(stack, settings, Progress(), threading.Event())
    if part == "images":
        return lambda: exhaust(pipeline.images())
    pictures = list(pipeline.images())
    if part == "decode":
        return lambda: exhaust(pipeline.pixels(pictures))
    if part == "embedding":
        decoded = list(pipeline.pixels(pictures))
        model = pipeline.encoder()
        return lambda: exhaust(embed(decoded, model, model.size))
    return kept(part, pipeline, list(pipeline.embed(pictures)))


def kept(part: str, pipeline: Pipeline, embedded: list[Embedded | Skipped]) -> Callable[[], object]:
    """Return one of the stages that write vectors."""
    settings = pipeline.settings
    if part == "store":
        return lambda: exhaust(append(embedded, ShardWriter(LocalStore(settings.data / "alone", pipeline.space.dim))))
    if part == "exports":

        def export() -> None:
            npy_files.write(settings.npy, settings.npy_ids, pipeline.wanted, pipeline.store, pipeline.space.fingerprint)
            faiss_index.build(settings.npy, settings.npy_ids, settings.indexes, pipeline.contract.index)

        return export

    def fill() -> None:
        with connect(MilvusSettings(settings.milvus_uri, max_wait=60)) as connection:
            collection = Collection(connection, pipeline.contract, pipeline.space)
            collection.prepare()
            exhaust(writer.upsert(embedded, collection))
            collection.flush()

    return fill


def exhaust(records: Iterable[object]) -> None:
    for _ in records:
        pass


if __name__ == "__main__":
    main()
