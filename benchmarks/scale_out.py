"""More actors, more throughput: a run on Ray with a stage that waits as a GPU would; and what the engine itself costs.

    python benchmarks/scale_out.py [--quick] [--json FILE] [--products N] [--only scaling|overhead]

`scaling_8` is the throughput of 8 actors over that of 1, where each batch takes WAIT_S seconds and no CPU: only the
engine's own work can keep it from 8. It is counted from when each actor has done a block, for ROUNDS blocks of each.
`engine_overhead` is what a Ray run with the sample model takes beyond the one-machine run over the same catalog, as a
share of that; `engine_overhead_working` the same of the time from the first pictures embedded to the end, without what
starting Ray and its workers takes.
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
from typing import TYPE_CHECKING, Any
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
    from ingest.embedding.encoder import Encoder
    from ingest.pipeline.distributed.workers import Job

ACTORS = (1, 2, 4, 8)
BATCH = 32
WAIT_S = 0.5
ROUNDS, QUICK_ROUNDS = 4, 1
BLOCK = 256  # products that go to an actor together
SIDE = 64


@dataclass(frozen=True)
class Waiting:
    """An encoder that waits as a GPU would and gives each picture a vector of its pixels."""

    space: Space

    def images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Wait, and return the mean colours and ones."""
        time.sleep(WAIT_S)
        sums = pixels.reshape(len(pixels), -1, 3).astype(np.float32).mean(axis=1)
        return np.concatenate([sums, np.ones((len(pixels), self.space.dim - 3), np.float32)], axis=1)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Nobody asks for them."""
        raise NotImplementedError

    def size(self) -> Size:
        """Return the batch of the run, on one thread."""
        return Size(BATCH)


def waiting(job: Job) -> Waiting:
    return Waiting(job.checkpoint.space)


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("--products", type=int, default=20_000, help="for the overhead")
    flags.add_argument("--only", choices=["scaling", "overhead"], help="one of the two")
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
    """Have each number of actors do a block each, and then `rounds` more, which are what is timed."""
    import ray

    stock(folder / "waiting", (rounds + 1) * max(actors) * BLOCK)
    found = []
    # A GPU's machine has cores beside it; that these are waiting, the machine that measures need not have.
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
    """Run the sample model over `count` products on threads and on Ray, each from nothing to rows in Milvus Lite."""
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
    """Run once over a fresh data folder; return when pictures came out of the model and when it ended, in seconds."""
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
    """A progress that keeps when pictures were embedded."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[float] = []

    def add(self, stage: Stage, items: int) -> None:
        """Count, and keep the moment."""
        super().add(stage, items)
        if stage is Stage.EMBEDDING and items:
            self.moments.append(time.monotonic())


def stock(folder: Path, count: int) -> None:
    """Write a catalog of small pictures, no two alike."""
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
