"""What a run on Ray costs the process that drives it, and how it compares with threads.

    python benchmarks/cluster.py --uri http://localhost:19530 [--products N …] [--quick] [--json FILE]

For each number of products, three runs on threads and three on Ray into a collection of the server: `first`, all rows
new; `refill`, into an empty collection with all vectors in the store; `unchanged`. The model is an encoder that answers
at once; images are small, and many products share one, so that what is measured is the engine. Each run is a process
of its own, and Ray's workers are others. `driver_s` is its CPU, all threads; `driver_mb` by how much its memory grew at
most. `…_driver_us` and `…_driver_bytes` are what each product costs beyond the smallest number, so without what Ray
takes to start; `…_of_threads` is the time over that of threads, without Ray's start (`ray_start_s`). Collections of
earlier runs of this benchmark are dropped.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from bench import ROOT, Figure, finish, parser
from PIL import Image

from ingest.core.settings import Settings
from ingest.embedding.encoder import Size
from ingest.pipeline import pipeline as lines
from ingest.pipeline.distributed import cluster, driver
from ingest.pipeline.progress import Progress
from ingest.tasks import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ingest.core.contract import Space
    from ingest.embedding.encoder import Pixels
    from ingest.pipeline.distributed.workers import Job

PRODUCTS, QUICK_PRODUCTS = (20_000, 100_000), (1_000,)
IMAGES = 2_000
SIDE = 32
BATCH = 256
ALIAS = "benchmark_cluster"
PARTS = ("first", "refill", "unchanged")


@dataclass(frozen=True)
class FirstPixels:
    """An encoder without a model: an image's vector is its first pixels, so that equal images have equal vectors."""

    space: Space

    def images(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return a unit row for each image, (n, dim)."""
        rows = np.stack([np.asarray(image).reshape(-1)[: self.space.dim] for image in pixels]).astype(np.float32) + 1
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raise: no text is embedded here."""
        raise NotImplementedError

    def size(self) -> Size:
        """Return the batch of the run, on one thread."""
        return Size(BATCH)

    @property
    def devices(self) -> tuple[str, ...]:
        """Return a name for the summary."""
        return ("none",)


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("--uri", required=True, help="a Milvus server")
    flags.add_argument("--products", type=int, nargs="+", default=[])
    flags.add_argument("--part", nargs=3, metavar=("FOLDER", "ENGINE", "PART"), help=argparse.SUPPRESS)
    asked = flags.parse_args()
    if asked.part:
        folder, engine, _ = asked.part
        print(json.dumps(measured(Path(folder), engine, asked.uri)))
        return
    rows: list[dict[str, Any]] = []
    for count in asked.products or (QUICK_PRODUCTS if asked.quick else PRODUCTS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            stock(folder, count)
            for engine in ("threads", "ray"):
                for part in PARTS:
                    if part != "unchanged":
                        drop(asked.uri)
                    command = [sys.executable, __file__, "--uri", asked.uri, "--part", name, engine, part]
                    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                    rows.append({"products": count, "engine": engine, "part": part, **json.loads(done.stdout)})
                    print(rows[-1], file=sys.stderr)
    finish("cluster", rows, ratios(rows), asked.json, ["ray", "pymilvus"])


def ratios(rows: list[dict[str, Any]]) -> dict[str, Figure]:
    """Return what Ray takes over what threads take, and what each further product costs the driver."""
    counts = sorted({row["products"] for row in rows})
    of = {(row["products"], row["engine"], row["part"]): row for row in rows}
    found: dict[str, Figure] = {}
    for part in PARTS:
        ray, threads = of[counts[-1], "ray", part], of[counts[-1], "threads", part]
        found[f"{part}_of_threads"] = round((ray["seconds"] - ray["ray_start_s"]) / threads["seconds"], 2)
        if len(counts) > 1:
            more, fewer = counts[-1] - counts[0], of[counts[0], "ray", part]
            found[f"{part}_driver_us"] = round(1e6 * (ray["driver_s"] - fewer["driver_s"]) / more, 1)
            found[f"{part}_driver_bytes"] = round(2**20 * (ray["driver_mb"] - fewer["driver_mb"]) / more)
    return found


def stock(folder: Path, count: int) -> None:
    """Write a catalog whose products share `IMAGES` images."""
    (folder / "images").mkdir()
    chance = np.random.default_rng(0)
    for number in range(min(IMAGES, count)):
        pixels = chance.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.jpg")
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("product_id", "image", "title"))
        for number in range(count):
            table.writerow((f"P{number:07d}", f"images/{number % IMAGES}.jpg", f"Product {number}"))


def drop(uri: str) -> None:
    """Remove the alias and all collections of this benchmark."""
    from pymilvus import MilvusClient

    client = MilvusClient(uri=uri)
    for name in client.list_collections():
        if name.startswith(ALIAS):
            for alias in client.list_aliases(name)["aliases"]:
                client.drop_alias(alias)
            client.drop_collection(name)
    client.close()


def measured(folder: Path, engine: str, uri: str) -> dict[str, float]:
    """Run once, and measure the part of the run that is the engine's."""
    contract = (ROOT / "schema/products.toml").read_text(encoding="utf-8")
    schema = folder / "schema.toml"
    schema.write_text(contract.replace('alias = "products"', f'alias = "{ALIAS}"'), encoding="utf-8")
    settings = Settings(
        catalog=folder / "products.csv", data=folder / f"data-{engine}", model=str(ROOT / "data/models/sample-clip"),
        uri=uri, schema=schema, engine=engine, exports=False, upsert_parallelism=2, batch_size=BATCH,
    )  # fmt: skip
    began, started, wait = time.monotonic(), list[float](), cluster.wait_for_room

    def noted(*arguments: Any) -> Any:
        room = wait(*arguments)
        started.append(time.monotonic() - began)
        return room

    progress, before, cpu = Progress(), _resident(), time.process_time()
    with (
        mock.patch.object(cluster, "wait_for_room", noted),
        mock.patch.object(driver, "write_rows", partial(driver.write_rows, encoder=_without_model)),
        mock.patch.object(lines.Pipeline, "encoder", lambda pipeline: FirstPixels(pipeline.space)),
    ):
        run.run(settings, progress, threading.Event())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": round(time.monotonic() - began, 2), "ray_start_s": round(sum(started), 2),
        "driver_s": round(time.process_time() - cpu, 2), "driver_mb": round((peak - before) / 2**20, 1),
    }  # fmt: skip


def _without_model(job: Job) -> FirstPixels:
    return FirstPixels(job.checkpoint.space)


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize()


if __name__ == "__main__":
    main()
