"""The program of the processes that decode images: `python -m ingest.images.decode.worker SOCKET MEMORY`.

It may crash or hang with an image: its parent then starts another one. It imports numpy, Pillow and simplejpeg, and no
library of the network, the model or the database.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.embedding.preprocess import Preprocessing
from ingest.images.decode.decoder import open_rgb
from ingest.images.decode.errors import UndecodableError
from ingest.images.decode.model_pixels import ModelPixels
from ingest.images.decode.on_threads import read_block
from ingest.images.decode.shared_rows import rows_of_slot, slot_rows
from ingest.runtime.worker_processes import serve

if TYPE_CHECKING:
    from ingest.images.reading import FileFacts
    from ingest.runtime.worker_processes import Parent


def handle(task: dict[str, Any], parent: Parent) -> None:
    """Do a task of `sandbox` or `in_processes`. Pixels go into a slot of the shared memory, a row for each file.

    The task `read` has two parts: the answer is the files' facts, and the next message says which ones to decode, and
    into which slot.
    """
    if "open" in task:
        _open(Path(task["open"]), task["max_pixels"], parent)
        return
    steps = Preprocessing(**task["steps"])
    decode = ModelPixels(steps, task["draft_side"], task["max_pixels"])
    if "files" in task:
        slot = task["slot"]
        outcomes = (decode(Path(path), bytes.fromhex(sha256)) for path, sha256 in task["files"])
    else:
        paths = [Path(path) for path in task["read"]]
        facts, contents = read_block(paths)
        parent.answer([_described(one) for one in facts])
        slot, wanted = next(iter(parent))
        outcomes = (
            decode(path, one.sha256, content)
            for path, one, content, is_wanted in zip(paths, facts, contents, wanted, strict=True)
            if is_wanted and not isinstance(one, OSError)
        )
    rows = slot_rows(parent.shared, steps, slot, rows_of_slot(steps))
    answers = []
    for row, outcome in enumerate(outcomes):
        if isinstance(outcome, UndecodableError):
            answers.append([outcome.reason, outcome.detail])
        else:
            rows[row] = outcome.pixels
            answers.append([*astuple(outcome.content)])
        parent.step()
    parent.answer(answers)


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
