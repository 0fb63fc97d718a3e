"""The contestants of gpu.py: the tool's parts and the whole line in one process, what others do in another.

    python benchmarks/gpu_contestants.py tool|peers|sentence_transformers

A request is a JSON object, a `Task` with the name of the contestant as `what`; the answer is as in feed_contestants.py.
Models stay loaded between requests.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import embed_contestants
import feed_contestants
from contestant import serve
from whole_line import cores, whole_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from whole_line import Work

    from ingest.embedding.clip import ClipEncoder

HAND_BATCH = 32
PROBED = 3  # passes that say how many more are made


@dataclass(frozen=True, slots=True)
class Task:
    """What a contestant works on: an image tower in batches for some seconds, or a catalog's images."""

    model: Path
    catalog: Path
    output: Path
    batch: int
    seconds: float


Contestant: TypeAlias = "Callable[[Task], AbstractContextManager[Work]]"


@contextmanager
def forward(task: Task) -> Iterator[Work]:
    """Yield the tool's image tower alone, on pixels in the device's memory: the ceiling of the model."""
    import torch

    tower, device, dtype = image_tower(task.model)
    side = encoder(task.model).space.preprocessing["height"]
    pixels = torch.randn(task.batch, 3, side, side).to(device, dtype)

    def run(passes: int) -> int:
        with torch.inference_mode():
            for _ in range(passes):
                features = tower(pixels)
            features[0, 0].item()  # waits for the device
        return passes * task.batch

    yield repeated(run, task.seconds)


@contextmanager
def embedding(task: Task) -> Iterator[Work]:
    """Yield `ClipEncoder.images` on pixels in main memory, on all its lanes, with the batch that it chose."""
    import numpy as np

    clip = encoder(task.model)
    size, side = clip.size(), clip.space.preprocessing["height"]
    pixels = list(np.random.default_rng(0).integers(0, 256, (size.batch, side, side, 3), np.uint8))
    with ThreadPoolExecutor(size.lanes) as pool:

        def run(passes: int) -> int:
            calls = passes * size.lanes
            return sum(len(rows) for rows in pool.map(clip.images, [pixels] * calls))

        yield repeated(run, task.seconds)


def repeated(run: Callable[[int], int], seconds: float) -> Work:
    """Return `run` with as many passes as take about `seconds`."""
    run(1)  # chooses kernels
    begun = time.perf_counter()
    run(PROBED)
    took = (time.perf_counter() - begun) / PROBED
    return lambda: run(max(1, round(seconds / took)))


def line(task: Task) -> AbstractContextManager[Work]:
    """Return the whole line, decoding in processes."""
    return whole_line(task.model, task.catalog, task.output, lambda _: encoder(task.model), "processes")


def line_device(task: Task) -> AbstractContextManager[Work]:
    """Return the whole line, decoding in processes, images resized on the device."""
    return whole_line(task.model, task.catalog, task.output, lambda _: encoder(task.model), "processes", "device")


def line_threads(task: Task) -> AbstractContextManager[Work]:
    """Return the whole line, decoding on threads."""
    return whole_line(task.model, task.catalog, task.output, lambda _: encoder(task.model), "threads")


def decode(task: Task) -> AbstractContextManager[Work]:
    """Return the line's decoding alone: the ceiling of the cores."""
    return feed_contestants.decode(task.model, task.catalog, task.output)


@contextmanager
def dataloader(task: Task) -> Iterator[Work]:
    """Yield a DataLoader with a process for each core, and the model in batches, in the dtype that ingest takes."""
    import torch
    from torch.utils.data import DataLoader

    clip, device, dtype = whole_model(task.model)
    images = feed_contestants.preprocessed(task.model, task.catalog)
    loader = DataLoader(images, task.batch, num_workers=cores(), pin_memory=device.startswith("cuda"))

    def run() -> int:
        count = 0
        with torch.inference_mode():
            for pixels in loader:
                features = clip.get_image_features(pixel_values=pixels.to(device, dtype, non_blocking=True))
                features = getattr(features, "pooler_output", features)
                count += len((features / features.norm(dim=-1, keepdim=True)).float().cpu())
        return count

    yield run


@contextmanager
def hand_loop(task: Task) -> Iterator[Work]:
    """Yield the loop that people write by hand, float32, in one process."""
    run = loaded_hand_loop(task.model)
    yield counted(run, task)


@contextmanager
def sentence_transformers(task: Task) -> Iterator[Work]:
    """Yield sentence-transformers' encode."""
    run = loaded_sentence_transformers(task.model)
    yield counted(run, task)


def counted(run: embed_contestants.Run, task: Task) -> Work:
    """Return a contestant of embed.py as work; it raises for an image that it cannot embed."""

    def work() -> int:
        run(task.catalog.parent, task.output)
        return len(list(task.catalog.parent.glob("*.jpg")))

    return work


@cache
def encoder(model: Path) -> ClipEncoder:
    return embed_contestants.warm_encoder(model)


@cache
def image_tower(model: Path) -> tuple[Callable[[Any], Any], str, Any]:
    """Return the tower that the tool's encoder computes with, its device and its dtype."""
    from ingest.embedding.checkpoint import resolve
    from ingest.embedding.towers import Towers

    device, name, dtype = chosen()
    return Towers(resolve(str(model)), name).images(device), device, dtype


@cache
def whole_model(model: Path) -> tuple[Any, str, Any]:
    """Return transformers' model, its device and its dtype."""
    from transformers import CLIPModel

    device, _, dtype = chosen()
    return CLIPModel.from_pretrained(model, dtype=dtype).to(device).eval(), device, dtype


def chosen() -> tuple[str, str, Any]:
    """Return the device and the dtype, by name and as torch's, that ingest chooses on this machine."""
    import torch

    from ingest.embedding.device import pick_devices, pick_dtype

    device = pick_devices("auto")[0]
    name = pick_dtype("auto", device)
    return device, name, getattr(torch, name)


@cache
def loaded_hand_loop(model: Path) -> embed_contestants.Run:
    return embed_contestants.hand_loop(model, HAND_BATCH)


@cache
def loaded_sentence_transformers(model: Path) -> embed_contestants.Run:
    return embed_contestants.sentence_transformers(model)


CONTESTANTS: dict[str, dict[str, Contestant]] = {
    "tool": {
        "forward": forward, "encoder": embedding, "decode": decode, "line": line, "line_device": line_device,
        "line_threads": line_threads,
    },
    "peers": {"dataloader": dataloader, "hand_loop": hand_loop},
    "sentence_transformers": {"sentence_transformers": sentence_transformers},
}  # fmt: skip


def prepare() -> Callable[[dict[str, Any]], dict[str, float]]:
    """Import what all contestants of this process need, and return the function that answers."""
    from ingest.embedding.device import import_torch

    import_torch()
    contestants = CONTESTANTS[sys.argv[1]]

    def answer(request: dict[str, Any]) -> dict[str, float]:
        paths = {name: Path(request[name]) for name in ("model", "catalog", "output")}
        task = Task(**paths, batch=request["batch"], seconds=request["seconds"])
        return feed_contestants.timed(contestants[request["what"]](task))

    return answer


if __name__ == "__main__":
    serve(prepare)
