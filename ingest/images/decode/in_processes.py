"""Decodes blocks of files in worker processes: a crash or a hang costs the one image that causes it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, fields
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ingest.core.records import Crop, Reason
from ingest.embedding.device import expects_gpu
from ingest.images.cache.entry import ImageContent
from ingest.images.decode.base import DecodedImage, ReadFile
from ingest.images.decode.errors import UndecodableError, crash
from ingest.images.decode.on_threads import read_block
from ingest.images.decode.shared_rows import SharedRows, SlotLayout
from ingest.images.reading import FileFacts
from ingest.runtime.worker_processes import WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.settings import Settings
    from ingest.embedding.preprocess import Preprocessing
    from ingest.images.decode.base import Outcome
    from ingest.runtime.worker_processes import Worker, WorkerProcesses

PROGRAM = "ingest.images.decode.worker"
_FACTS = len(fields(ImageContent))  # numbers in an answer about a decoded image; a crop's shape and box follow
TRIES = 2
"""How many processes an image may kill before it is skipped: the first may have died of something else."""


def uses_processes(settings: Settings) -> bool:
    """Whether images are decoded in processes: if the settings say so, or leave it open and a GPU will embed."""
    return settings.decode_in == "processes" or (settings.decode_in == "auto" and expects_gpu(settings.device))


class ProcessDecoder:
    """A `BlockDecoder` that works in other processes, which nobody else uses: their memory is laid out for its model.

    Raises EngineError if none can be started.
    """

    def __init__(
        self, processes: WorkerProcesses, steps: Preprocessing, draft_side: int, max_pixels: int, *, crops: bool = False
    ) -> None:
        self._processes = processes
        self._layout = SlotLayout(steps, crops)
        self._slots: WeakKeyDictionary[Worker, SharedRows] = WeakKeyDictionary()
        self._task = {"steps": asdict(steps), "draft_side": draft_side, "max_pixels": max_pixels, "crops": crops}

    def decode(self, files: Sequence[tuple[Path, bytes]]) -> list[Outcome]:
        """Return what came of each file."""
        return self._decode(files, Counter())

    def read(
        self, paths: Sequence[Path], wanted: Callable[[Sequence[FileFacts | OSError]], Sequence[bool]]
    ) -> list[ReadFile]:
        """Read the files, ask which are wanted, and decode those, in one visit of a process."""
        flags: list[bool] = []
        chosen: list[tuple[Path, bytes]] = []
        with self._processes.lend() as worker:
            facts = self._facts(worker, paths)
            for path, one, flag in zip(paths, facts, wanted(facts), strict=True):
                flags.append(flag and isinstance(one, FileFacts))
                if flag and isinstance(one, FileFacts):
                    chosen.append((path, one.sha256))
            outcomes, deaths = self._visit(worker, _first(flags, self._layout.images))
        outcomes += self._decode(chosen[len(outcomes) :], deaths)
        decoded = iter(outcomes)
        return [ReadFile(one, next(decoded) if flag else None) for one, flag in zip(facts, flags, strict=True)]

    def _facts(self, worker: Worker, paths: Sequence[Path]) -> list[FileFacts | OSError]:
        """Have the process read files, whose content it keeps; return their facts."""
        try:
            worker.send({**self._task, "read": [str(path) for path in paths]})
            return [_to_facts(answer) for answer in worker.receive()]
        except WorkerDiedError:  # reading kills no process: somebody else did
            return read_block(paths)[0]

    def _visit(self, worker: Worker, flags: list[bool]) -> tuple[list[Outcome], Counter[int]]:
        """Have the process decode what it has read; if it dies, nothing comes of it but which file was under way."""
        if not worker.is_alive:
            return [], Counter()
        try:
            slot = self._slot(worker)
            worker.send([slot, flags])
            return self._receive(worker, slot), Counter()
        except WorkerDiedError:
            return [], Counter([worker.steps])

    def _decode(self, files: Sequence[tuple[Path, bytes]], deaths: Counter[int]) -> list[Outcome]:
        """Decode files, of which some have seen `deaths` of processes; after the first death, each file alone."""
        outcomes: list[Outcome] = []
        while left := files[len(outcomes) :]:
            block = left[:1] if deaths else left[: self._layout.images]
            with self._processes.lend() as worker:
                try:
                    slot = self._slot(worker)
                    named = [(str(path), sha256.hex()) for path, sha256 in block]
                    worker.send({**self._task, "slot": slot, "files": named})
                    outcomes += self._receive(worker, slot)
                except WorkerDiedError:
                    killer = len(outcomes) + worker.steps
                    deaths[killer] += 1
                    if deaths[killer] == TRIES:
                        outcomes.append(crash())
        return outcomes

    def _slot(self, worker: Worker) -> int:
        return self._slots.setdefault(worker, SharedRows(worker, self._layout)).take()

    def _receive(self, worker: Worker, slot: int) -> list[Outcome]:
        answers = worker.receive()
        steps = self._layout.steps
        shapes = [_shape(answer) or (steps.height, steps.width) for answer in answers if not _is_error(answer)]
        ends = [*accumulate((3 * height * width for height, width in shapes), initial=0)]
        content = self._slots[worker].content(slot, ends[-1])
        pixels = (
            content[start:end].reshape(*shape, 3) for start, end, shape in zip(ends, ends[1:], shapes, strict=False)
        )
        return [_error(answer) if _is_error(answer) else _decoded(answer, next(pixels)) for answer in answers]


def _first(flags: list[bool], most: int) -> list[bool]:
    """Return the flags with at most so many of them set: a slot has no room for the others."""
    return [flag and count <= most for flag, count in zip(flags, accumulate(flags), strict=True)]


def _is_error(answer: list[Any]) -> bool:
    return len(answer) < _FACTS


def _error(answer: list[Any]) -> UndecodableError:
    reason, detail = answer
    return UndecodableError(Reason(reason), detail)


def _shape(answer: list[Any]) -> tuple[int, int] | None:
    """Return the height and width of a crop, None for pixels of the model's size."""
    return (answer[_FACTS], answer[_FACTS + 1]) if len(answer) > _FACTS else None


def _decoded(answer: list[Any], pixels: NDArray[np.uint8]) -> DecodedImage:
    content = ImageContent(*answer[:_FACTS])
    if len(answer) == _FACTS:
        return DecodedImage(pixels, content)
    left, top, right, bottom = answer[_FACTS + 2 :]
    return DecodedImage(Crop(pixels, (left, top, right, bottom)), content)


def _to_facts(answer: list[Any]) -> FileFacts | OSError:
    if len(answer) == len(FileFacts._fields):
        sha256, size, mtime_ns = answer
        return FileFacts(bytes.fromhex(sha256), size, mtime_ns)
    return OSError(*answer)
