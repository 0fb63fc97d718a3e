"""Throughput by the number of Ray actors, with a stage that waits as for a GPU, and the cost of the engine itself.

    python benchmarks/scale_out.py [--quick] [--json FILE] [--products N] [--only scaling|overhead]

`scaling_8` is the throughput of 8 actors over that of 1. Each batch takes WAIT_S seconds and no CPU, so only the
engine's own work can keep the ratio below 8. It is measured after each actor has done a block, over ROUNDS blocks each.
`engine_overhead` is how much longer a Ray run with the sample model takes than a run on threads over the same catalog,
as a share of the latter; `engine_overhead_working` is the same from the first embedded images to the end, without the
time to start Ray and its workers.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import numpy as np
from bench import ROOT, Figure, finish, parser
from PIL import Image

from ingest.core.records import Stage
from ingest.core.settings import Settings
from ingest.embedding.encoder import Size
from ingest.pipeline.distributed import driver
from ingest.pipeline.distributed.workers import load_clip
from ingest.pipeline.progress import Progress
from ingest.tasks import run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ingest.core.contract import Space
    from ingest.embedding.encoder import Encoder, Pixels
    from ingest.pipeline.distributed.workers import Job

ACTORS = (1, 2, 4, 8)
BATCH = 32
WAIT_S = 0.5
ROUNDS, QUICK_ROUNDS = 4, 1
BLOCK = 256  # products that are sent to an actor together
SIDE = 64


@dataclass(frozen=True)
class Waiting:
    """An encoder that waits as for a GPU, and makes vectors from mean colours."""

    space: Space

    def images(self, pixels: Pixels) -> NDArray[np.float32]:
        """Wait, and return the mean colours and ones."""
        time.sleep(WAIT_S)
        sums = (
            np.stack(cast("list[NDArray[np.uint8]]", list(pixels)))
            .reshape(len(pixels), -1, 3)
            .astype(np.float32)
            .mean(axis=1)
        )
        return np.concatenate([sums, np.ones((len(pixels), self.space.dim - 3), np.float32)], axis=1)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Not used."""
        raise NotImplementedError

    def size(self) -> Size:
        """Return the batch of the run, on one thread."""
        return Size(BATCH)


def waiting(job: Job) -> Waiting:
    return Waiting(job.checkpoint.space)


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("--products", type=int, default=20_000, help="products for the overhead")
    flags.add_argument("--only", choices=["scaling", "overhead"], help="measure only one of the two")
    asked = flags.parse_args()
    overhead = 1000 if asked.quick else asked.products
    rows: list[dict[str, Any]] = []
    ratios: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as folder:
        if asked.only != "overhead":
            rows += scaled(Path(folder), QUICK_ROUNDS if asked.quick else ROUNDS, (1, 8) if asked.quick else ACTORS)
            rate = {row["actors"]: row["pictures_per_s"] for row in rows}
            ratios["scaling_8"] = round(rate[8] / rate[1], 2)
        if asked.only != "scaling":
            both = compared(Path(folder), overhead)
            rows += both
            threads, ray = both
            ratios["engine_overhead"] = round(ray["seconds"] / threads["seconds"] - 1, 3)
            ratios["engine_overhead_working"] = round(threads["pictures_per_s"] / ray["pictures_per_s"] - 1, 3)
    finish("scale_out", rows, ratios, asked.json, ["ray", "torch"])


def scaled(folder: Path, rounds: int, actors: tuple[int, ...]) -> list[dict[str, Any]]:
    """For each number of actors, have every actor do one block, then `rounds` more, which are timed."""
    import ray

    stock(folder / "waiting", (rounds + 1) * max(actors) * BLOCK)
    found = []
    # A machine with GPUs has as many cores; here the actors only wait, so the cores need not exist.
    ray.init(address="local", num_cpus=16, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
             object_store_memory=2**30)  # fmt: skip
    try:
        for number in actors:
            count = (rounds + 1) * number * BLOCK
            came = timed(folder / "waiting", waiting, engine="ray", actors=str(number), sample=count)
            seconds, done = came[-2] - came[number - 1], rounds * number * BLOCK
            found.append({
                "what": "waiting stage", "actors": number, "products": done, "seconds": round(seconds, 2),
                "pictures_per_s": round(done / seconds, 1),
            })  # fmt: skip
    finally:
        ray.shutdown()
    return found


def compared(folder: Path, count: int) -> list[dict[str, Any]]:
    """Run the sample model over `count` products on threads and on Ray, each into a new Milvus Lite file."""
    stock(folder / "sample", count)
    found = []
    for name in ("threads", "ray"):
        came = timed(folder / "sample", engine=name, actors="2")
        first = BLOCK if name == "ray" else BATCH
        found.append({
            "what": f"sample model, {name}", "actors": 2 if name == "ray" else "", "products": count,
            "seconds": round(came[-1], 2), "pictures_per_s": round((count - first) / (came[-2] - came[0]), 1),
        })  # fmt: skip
    return found


def timed(folder: Path, encoder: Callable[[Job], Encoder] = load_clip, **changes: Any) -> list[float]:
    """Run once in a new data folder; return the times of embedded images, and of the end, in seconds."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    settings = replace(
        Settings(catalog=folder / "products.csv", data=folder / "data", model=str(ROOT / "data/models/sample-clip"),
                 batch_size=BATCH, exports=False), **changes,
    )  # fmt: skip
    progress = Watched()
    began = time.monotonic()
    with mock.patch.object(driver, "write_rows", partial(driver.write_rows, encoder=encoder)):
        run.run(settings, progress, threading.Event())
    return [moment - began for moment in (*progress.moments, time.monotonic())]


class Watched(Progress):
    """A progress that records when images were embedded."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[float] = []

    def add(self, stage: Stage, items: int) -> None:
        """Count, and record the time."""
        super().add(stage, items)
        if stage is Stage.EMBEDDING and items:
            self.moments.append(time.monotonic())


def stock(folder: Path, count: int) -> None:
    """Write a catalog of small images, no two alike."""
    (folder / "images").mkdir(parents=True)
    chance = np.random.default_rng(0)
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("product_id", "image", "title"))
        for number in range(count):
            small = Image.fromarray(chance.integers(0, 256, (8, 8, 3), np.uint8))
            small.resize((SIDE, SIDE)).save(folder / "images" / f"{number}.jpg")
            table.writerow((f"P{number:07d}", f"images/{number}.jpg", f"Product {number}"))


if __name__ == "__main__":
    main()
