"""Contestants of a benchmark: each a process of its own, which answers one request after another.

A request and its answer are a line of JSON each. Needs the standard library alone, so that any Python can run it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

GRACE_S = 2.0
ROOT = Path(__file__).parents[1]


class ContestantError(Exception):
    """A contestant failed, or ended before it answered."""


class Contestant:
    """A program beside this file in a process of its own; as a context manager it ends with the block.

    It imports `ingest` from `checkout`. The process starts at once, and is ready when the block is entered, so that
    several can start at the same time.
    """

    def __init__(self, program: str, *arguments: str, python: str = sys.executable, checkout: Path = ROOT) -> None:
        own = checkout / "benchmarks" / program
        path = own if own.exists() else Path(__file__).with_name(program)  # a checkout from before this benchmark
        self._name = " ".join([program, *arguments])
        paths = filter(None, [str(checkout), os.environ.get("PYTHONPATH")])
        self._process = subprocess.Popen(
            [python, str(path), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(paths)},
            start_new_session=True,  # so that its own processes can be ended with it
        )  # fmt: skip
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        try:
            self._read()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()  # all that it found was answered, and torch takes seconds to close

    def ask(self, request: object, timeout_s: float | None = None) -> Any:
        """Return the answer; raises ContestantError if there is none in time, and then ends the process."""
        begun = time.monotonic()
        timer = threading.Timer(timeout_s, self._end) if timeout_s is not None else None
        if timer:
            timer.start()
        try:
            return self._send(request)
        except ContestantError as error:
            if timeout_s is not None and time.monotonic() - begun >= timeout_s:
                raise ContestantError(f"{self._name} had no answer after {timeout_s:.0f} s") from error
            raise
        finally:
            if timer:
                timer.cancel()

    def _send(self, request: object) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise ContestantError(f"{self._name} has ended") from error
        answer = json.loads(self._read())
        if isinstance(answer, dict) and "error" in answer:
            raise ContestantError(f"{self._name}: {answer['error']}")
        return answer

    def _read(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise ContestantError(f"{self._name} ended with {self._process.wait()}; run it by hand")
        return answer

    def _end(self) -> None:
        """End the process and its own; the tracker of multiprocessing ignores SIGTERM, and removes what they shared."""
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(self.pid, signal.SIGTERM)
            self._process.wait(GRACE_S)
            until = time.monotonic() + GRACE_S
            while time.monotonic() < until:
                os.killpg(self.pid, 0)  # raises when the last has ended
                time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def serve(prepare: Callable[[], Callable[[Any], object]]) -> None:
    """Answer requests from stdin until it ends, by the function that `prepare` returns.

    An exception becomes an answer, too.
    """
    answers = sys.stdout
    sys.stdout = sys.stderr  # keeps the libraries' output apart from the answers
    answer = prepare()
    print(json.dumps("ready"), file=answers, flush=True)
    for request in sys.stdin:
        try:
            line = json.dumps(answer(json.loads(request)))
        except Exception:  # noqa: BLE001  one figure is missing, and the others are still measured
            line = json.dumps({"error": traceback.format_exc()})
        print(line, file=answers, flush=True)
