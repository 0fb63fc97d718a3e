"""The program of the processes that decode images: `python -m ingest.images.decode.worker SOCKET`.

It may crash or hang with an image: its parent then starts another one. It imports numpy, Pillow and simplejpeg, and no
library of the network, the model or the database.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.embedding.preprocess import Preprocessing
from ingest.images.decode.decoder import open_rgb
from ingest.images.decode.errors import UndecodableError
from ingest.images.decode.model_pixels import ModelPixels
from ingest.images.decode.on_threads import read_block
from ingest.runtime.worker_processes import answer, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from ingest.images.decode.base import Outcome
    from ingest.images.reading import FileFacts


def handle(task: dict[str, Any], messages: Iterator[Any], answers: BinaryIO) -> None:
    """Do a task of `sandbox` or `in_processes`; each file has an answer of its own, so that the parent sees progress.

    The task `read` has two steps: the answer is the files' facts, and the next message says which ones to decode.
    """
    if "open" in task:
        _open(Path(task["open"]), task["max_pixels"], answers)
        return
    decode = ModelPixels(Preprocessing(**task["steps"]), task["draft_side"], task["max_pixels"])
    if "files" in task:
        for path, sha256 in task["files"]:
            _answer(decode(Path(path), bytes.fromhex(sha256)), answers)
        return
    paths = [Path(path) for path in task["read"]]
    facts, contents = read_block(paths)
    answer(answers, [_described(one) for one in facts])
    for path, one, content, is_wanted in zip(paths, facts, contents, next(messages), strict=True):
        if is_wanted and not isinstance(one, OSError):
            _answer(decode(path, one.sha256, content), answers)


def _open(path: Path, max_pixels: int, answers: BinaryIO) -> None:
    try:
        image = open_rgb(path, None, max_pixels)
    except UndecodableError as error:
        _answer(error, answers)
    else:
        answer(answers, {"size": image.size})
        answers.write(image.tobytes())


def _answer(outcome: Outcome, answers: BinaryIO) -> None:
    if isinstance(outcome, UndecodableError):
        answer(answers, {"error": [outcome.reason, outcome.detail]})
        return
    content = outcome.content
    answer(answers, {"content": [content.width, content.height, content.blank]})
    answers.write(outcome.pixels.data)
    answers.flush()


def _described(facts: FileFacts | OSError) -> list[Any]:
    if isinstance(facts, OSError):
        return [facts.errno, facts.strerror]
    return [facts.sha256.hex(), facts.size, facts.mtime_ns]


if __name__ == "__main__":
    serve(handle)
