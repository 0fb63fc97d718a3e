"""The program of the processes that decode images: `python -m ingest.images.decode.worker SOCKET MEMORY`.

It may crash or hang with an image: its parent then starts another one. It imports numpy, Pillow and simplejpeg, and no
library of the network, the model or the database.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.core.records import Crop
from ingest.embedding.preprocess import Preprocessing
from ingest.images.decode.decoder import open_rgb
from ingest.images.decode.errors import UndecodableError
from ingest.images.decode.model_pixels import ModelPixels
from ingest.images.decode.on_threads import read_block
from ingest.images.decode.shared_rows import SlotLayout
from ingest.runtime.worker_processes import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from ingest.images.decode.base import Outcome
    from ingest.images.reading import FileFacts
    from ingest.runtime.worker_processes import Parent


def handle(task: dict[str, Any], parent: Parent) -> None:
    """Do a task of `sandbox` or `in_processes`."""
    if "open" in task:
        _open(Path(task["open"]), task["max_pixels"], parent)
        return
    layout = SlotLayout(Preprocessing(**task["steps"]), task["crops"])
    steps = layout.steps.crop if layout.crops else layout.steps
    decode = ModelPixels(steps, task["draft_side"], task["max_pixels"])
    slot, outcomes = _decode(task, decode) if "files" in task else _read(task, decode, parent)
    writer = _SlotWriter(layout, layout.slot(parent.shared, slot))
    answers = []
    for outcome in outcomes:
        answers.append(writer(outcome))
        parent.step()
    parent.answer(answers)


def _decode(task: dict[str, Any], decode: ModelPixels) -> tuple[int, Iterator[Outcome]]:
    """Return the slot to write to, and what comes of files with known digests, one after the other."""
    return task["slot"], (decode(Path(path), bytes.fromhex(sha256)) for path, sha256 in task["files"])


def _read(task: dict[str, Any], decode: ModelPixels, parent: Parent) -> tuple[int, Iterator[Outcome]]:
    """Read files and answer with their facts; the next message says into which slot to decode which of them."""
    paths = [Path(path) for path in task["read"]]
    facts, contents = read_block(paths)
    parent.answer([_described(one) for one in facts])
    slot, wanted = next(iter(parent))
    return slot, (
        decode(path, one.sha256, content)
        for path, one, content, is_wanted in zip(paths, facts, contents, wanted, strict=True)
        if is_wanted and not isinstance(one, OSError)
    )


class _SlotWriter:
    """Writes the pixels of a task's images into a slot, one behind the other, and returns an answer for each."""

    def __init__(self, layout: SlotLayout, slot: NDArray[np.uint8]) -> None:
        self._layout = layout
        self._slot = slot
        self._at = 0
        self._left = layout.images

    def __call__(self, outcome: Outcome) -> list[Any]:
        """Write the image, and resize a crop for which there is no room: an image of the model's size always has it."""
        self._left -= 1
        if isinstance(outcome, UndecodableError):
            return [outcome.reason, outcome.detail]
        content, pixels = astuple(outcome.content), outcome.pixels
        if not isinstance(pixels, Crop):
            self._write(pixels)
            return [*content]
        if self._at + pixels.pixels.nbytes + self._left * self._layout.image_bytes > self._layout.size:
            self._write(self._layout.steps.resize(pixels))
            return [*content]
        self._write(pixels.pixels)
        return [*content, *pixels.pixels.shape[:2], *pixels.box]

    def _write(self, pixels: NDArray[np.uint8]) -> None:
        self._slot[self._at : self._at + pixels.size] = pixels.reshape(-1)
        self._at += pixels.size


def _open(path: Path, max_pixels: int, parent: Parent) -> None:
    """Answer with the image's size; its pixels follow in as many pieces as the shared memory needs."""
    try:
        image = open_rgb(path, None, max_pixels)
    except UndecodableError as error:
        parent.answer([error.reason, error.detail])
        return
    parent.answer([image.width, image.height])
    pixels = memoryview(image.tobytes())
    for at in range(0, len(pixels), parent.shared_bytes):
        piece = pixels[at : at + parent.shared_bytes]
        parent.shared[: len(piece)] = piece.tobytes()
        parent.answer(len(piece))
        next(iter(parent))  # the parent has copied it


def _described(facts: FileFacts | OSError) -> list[Any]:
    if isinstance(facts, OSError):
        return [facts.errno, facts.strerror]
    return [facts.sha256.hex(), facts.size, facts.mtime_ns]


if __name__ == "__main__":
    serve(handle)
