"""Decodes blocks of files in worker processes: a crash or a hang costs the one image that causes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.records import Reason
from ingest.images.cache.entry import ImageContent
from ingest.images.decode.base import DecodedImage, ReadFile
from ingest.images.decode.errors import UndecodableError, crashed
from ingest.images.decode.on_threads import read_block
from ingest.images.reading import FileFacts
from ingest.runtime.worker_processes import WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ingest.embedding.preprocess import Preprocessing
    from ingest.images.decode.base import Outcome
    from ingest.runtime.worker_processes import Worker, WorkerProcesses

PROGRAM = "ingest.images.decode.worker"
TRIES = 2
"""How many processes an image may kill before it is skipped: the first may have died of something else."""


class ProcessDecoder:
    """A `BlockDecoder` that works in the calling thread's process. Raises EngineError if none can be started."""

    def __init__(self, processes: WorkerProcesses, steps: Preprocessing, draft_side: int, max_pixels: int) -> None:
        self._processes = processes
        self._shape = (steps.height, steps.width, 3)
        self._task = {"steps": asdict(steps), "draft_side": draft_side, "max_pixels": max_pixels}

    def decode(self, files: Sequence[tuple[Path, bytes]]) -> list[Outcome]:
        """Return what came of each file."""
        outcomes: list[Outcome] = []
        self._finish(files, outcomes, deaths=0)
        return outcomes

    def read(
        self, paths: Sequence[Path], wanted: Callable[[Sequence[FileFacts | OSError]], Sequence[bool]]
    ) -> list[ReadFile]:
        """Read the files, ask which are wanted, and decode those, in one visit of the process."""
        facts, worker = self._read(paths)
        flags = [bool(flag) and isinstance(one, FileFacts) for flag, one in zip(wanted(facts), facts, strict=True)]
        chosen = [(path, one.sha256) for path, one, flag in zip(paths, facts, flags, strict=True)
                  if flag and isinstance(one, FileFacts)]  # fmt: skip
        outcomes: list[Outcome] = []
        if worker is not None:
            try:
                worker.send(flags)
                for _ in chosen:
                    outcomes.append(self._receive(worker))  # noqa: PERF401  a death must leave those before it
            except WorkerDiedError:
                worker = None
        self._finish(chosen, outcomes, deaths=int(worker is None))
        decoded = iter(outcomes)
        return [ReadFile(one, next(decoded) if flag else None) for one, flag in zip(facts, flags, strict=True)]

    def _read(self, paths: Sequence[Path]) -> tuple[list[FileFacts | OSError], Worker | None]:
        """Have a process read files; return their facts, and the process that keeps their content."""
        worker = self._processes.worker()
        try:
            worker.send({**self._task, "read": [str(path) for path in paths]})
            return [_facts(answer) for answer in worker.receive()], worker
        except WorkerDiedError:  # reading kills no process: somebody else did
            return read_block(paths)[0], None

    def _finish(self, files: Sequence[tuple[Path, bytes]], outcomes: list[Outcome], deaths: int) -> None:
        """Decode the files that have no outcome yet; the first of them has seen `deaths` of processes."""
        while waiting := files[len(outcomes) :]:
            if deaths:
                waiting = waiting[:1]  # alone, so that no other file is taken for the one that kills
            worker = self._processes.worker()
            try:
                worker.send({**self._task, "files": [(str(path), sha256.hex()) for path, sha256 in waiting]})
                for _ in waiting:
                    outcomes.append(self._receive(worker))
                    deaths = 0
            except WorkerDiedError:
                deaths += 1
                if deaths == TRIES:
                    outcomes.append(crashed())
                    deaths = 0

    def _receive(self, worker: Worker) -> Outcome:
        answer: dict[str, Any] = worker.receive()
        if "error" in answer:
            reason, detail = answer["error"]
            return UndecodableError(Reason(reason), detail)
        pixels = np.empty(self._shape, np.uint8)
        worker.receive_into(pixels)
        return DecodedImage(pixels, ImageContent(*answer["content"]))


def _facts(answer: list[Any]) -> FileFacts | OSError:
    if len(answer) == len(FileFacts._fields):
        sha256, size, mtime_ns = answer
        return FileFacts(bytes.fromhex(sha256), size, mtime_ns)
    return OSError(*answer)
