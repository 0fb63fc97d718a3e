"""The contestants of feed.py, each in its own process, which works through a catalog for each line it reads.

    python benchmarks/feed_contestants.py NAME MODEL_FOLDER

A line is a JSON list [catalog, empty folder]; the answer is a JSON object: the images that came out, the seconds, and
the CPU seconds of this process, all its threads. What a contestant opens and starts is left out; the first catalog
should be a small one, for what is imported on the way.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from contestant import serve
from whole_line import cores, opened, whole_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from torch.utils.data import Dataset
    from whole_line import Work

    from ingest.core.contract import Space
    from ingest.embedding.encoder import Pixels, Size
    from ingest.images.decode.model_pixels import ModelPixels

Contestant: TypeAlias = "Callable[[Path, Path, Path], AbstractContextManager[Work]]"

SHARE = 32  # images that a process decodes for one request
BATCH = 512  # as on a GPU


class InstantEncoder:
    """Answers at once: unit rows of the model's dim, and no model."""

    devices: Final = ("none",)

    def __init__(self, space: Space) -> None:
        self.space = space
        rows = np.random.default_rng(0).normal(size=(BATCH, space.dim))
        self._rows: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def images(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return a unit row for each image, (n, dim)."""
        return self._rows[: len(pixels)]

    def texts(self, texts: object) -> NDArray[np.float32]:
        """Raise: no text is embedded here."""
        raise NotImplementedError

    def size(self) -> Size:
        """Return a GPU's batch, on two lanes."""
        from ingest.embedding.encoder import Size

        return Size(BATCH, 2)


def line(model: Path, catalog: Path, output: Path) -> AbstractContextManager[Work]:
    """Return the whole line with an encoder without a model."""
    return whole_line(model, catalog, output, InstantEncoder, os.environ.get("FEED_IN", "processes"))


@contextmanager
def fetch(model: Path, catalog: Path, output: Path) -> Iterator[Work]:
    """Yield fetching alone: images on disk, and nothing more."""
    from ingest.core.records import ImageFile

    with ExitStack() as stack:
        pipeline = opened(stack, model, catalog, output)
        yield lambda: sum(isinstance(record, ImageFile) for record in pipeline.images())


@contextmanager
def decode(model: Path, catalog: Path, _output: Path) -> Iterator[Work]:
    """Yield the line's own decoding, results thrown away, in one process less than there are cores: the ceiling."""
    workers = max(1, cores() - 1)
    with ProcessPoolExecutor(workers, get_context("spawn"), open_decoder, (model,)) as pool:
        list(pool.map(decode_files, [[]] * workers))  # starts them
        yield lambda: sum(pool.map(decode_files, shares(catalog)))


def shares(catalog: Path) -> Iterator[list[tuple[Path, bytes]]]:
    """Yield paths and digests of the catalog's images, as feed.py noted them, some at a time."""
    noted = json.loads(catalog.with_name("digests.json").read_text(encoding="utf-8"))
    files = [(catalog.parent / name, bytes.fromhex(digest)) for name, digest in noted.items()]
    for at in range(0, len(files), SHARE):
        yield files[at : at + SHARE]


_decode: ModelPixels


def open_decoder(model: Path) -> None:
    from ingest.embedding.checkpoint import resolve
    from ingest.images.decode.model_pixels import ModelPixels

    global _decode  # noqa: PLW0603  one for each process, as ProcessPoolExecutor has it
    steps = resolve(str(model)).preprocessing
    _decode = ModelPixels(steps, steps.least)


def decode_files(files: Iterable[tuple[Path, bytes]]) -> int:
    from ingest.images.decode.base import DecodedImage

    return sum(isinstance(_decode(path, sha256), DecodedImage) for path, sha256 in files)


@contextmanager
def dataloader(model: Path, catalog: Path, _output: Path) -> Iterator[Work]:
    """Yield torch's DataLoader, a process for each core: Pillow and transformers' preprocessing, in full size."""
    from torch.utils.data import DataLoader

    loader = DataLoader(preprocessed(model, catalog), batch_size=64, num_workers=cores())
    yield lambda: sum(len(batch) for batch in loader)


def preprocessed(model: Path, catalog: Path) -> Dataset[Any]:
    from PIL import Image
    from torch.utils.data import Dataset
    from transformers import CLIPImageProcessor

    processor = CLIPImageProcessor.from_pretrained(model)

    class Images(Dataset[Any]):
        def __init__(self) -> None:
            self.paths = sorted(catalog.parent.glob("*.jpg"))

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, at: int) -> Any:
            image = Image.open(self.paths[at]).convert("RGB")
            return processor(image, return_tensors="pt")["pixel_values"][0]

    return Images()


CONTESTANTS: dict[str, Contestant] = {"line": line, "fetch": fetch, "decode": decode, "dataloader": dataloader}


def timed(opened_work: AbstractContextManager[Work]) -> dict[str, float]:
    """Return the images that came out, the seconds, and the CPU seconds of this process."""
    with opened_work as work:
        cpu, begun = time.process_time(), time.perf_counter()
        images = work()
        seconds, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    return {"images": images, "seconds": seconds, "cpu_s": cpu_s}


def main() -> None:
    """Serve one contestant until stdin ends."""
    contestant, model = CONTESTANTS[sys.argv[1]], Path(sys.argv[2])
    serve(lambda: lambda paths: timed(contestant(model, *map(Path, paths))))


if __name__ == "__main__":
    main()
