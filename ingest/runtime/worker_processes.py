"""Processes for work that may crash, hang or hold Python's lock: each thread that asks has one of its own.

They are started as programs, not by multiprocessing: its spawn and forkserver import the caller's `__main__`, which
runs a script again that calls `ingest.run()`, and to fork a process with threads is unsafe. Both sides talk over a pair
of sockets, in lines of JSON and bytes after them, so that a program that was taken over can send no more than data. A
process ends when its parent's socket closes, however the parent ended.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ingest.core.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    import numpy as np
    from numpy.typing import NDArray

TIMEOUT_S = 60.0
"""A process that is silent for longer counts as hanging."""

_PACKAGES = str(Path(__file__).parents[2])  # of this ingest, installed or not
_BUFFER = 2**20  # bytes that wait in a socket, if the system allows it
_STARTS = 3  # if a process is killed while it starts, as for lack of memory
_READY, _FAILURE = "ready", "failure"


class WorkerDiedError(Exception):
    """A process crashed, or was silent for too long. The thread's next task gets a new one."""


class WorkerProcesses:
    """A process for each thread that calls `worker`, started by the first call; a context manager that ends them.

    `module` is a program of ours that calls `serve`; `command` stands for another one in tests.
    """

    def __init__(self, module: str, timeout_s: float = TIMEOUT_S, command: Sequence[str] = ()) -> None:
        self._command = list(command) or [sys.executable, "-P", "-m", module]
        self._timeout_s = timeout_s
        self._own = threading.local()
        self._lock = threading.Lock()
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for worker in self._workers:
                worker.end()
            self._workers.clear()

    def worker(self) -> Worker:
        """Return the calling thread's process. Raises EngineError if none can be started."""
        worker: Worker | None = getattr(self._own, "worker", None)
        if worker is not None and worker.is_alive:
            return worker
        for _ in range(_STARTS):
            worker = Worker(self._command, self._timeout_s)
            self._own.worker = worker
            with self._lock:
                self._workers = [*(other for other in self._workers if other.is_alive), worker]
            worker.wait_until_ready()
            if worker.is_alive:
                return worker
        raise EngineError("processes are killed while they start; free some memory, or lower --decode-workers")


class Worker:
    """A process and this side of the sockets, for one thread. If it dies, it is ended, and WorkerDiedError raised."""

    def __init__(self, command: Sequence[str], timeout_s: float) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            for one in (ours, theirs):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            try:
                self._process = subprocess.Popen(  # noqa: S603  our own program
                    [*command, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C ends the run, not the image being decoded
                )
            except OSError as error:
                ours.close()
                raise EngineError(f"no process can be started ({error.strerror}); lower --decode-workers") from error
        ours.settimeout(TIMEOUT_S)  # to start, whatever it has for a task
        self._socket = ours
        self._timeout_s = timeout_s
        self._stream = ours.makefile("rwb")
        self.is_alive = True

    def wait_until_ready(self) -> None:
        """Wait until the program has started, or was killed; raises EngineError if it cannot start."""
        try:
            started = self.receive() == _READY
        except WorkerDiedError:
            started = False
        self.is_alive = started and self.is_alive
        if self.is_alive:
            self._socket.settimeout(self._timeout_s)
            return
        self.end()
        if self._process.returncode >= 0:
            raise EngineError(
                f"the program that decodes images cannot start (exit status {self._process.returncode}); install "
                "ingest again, or see why with: python -m ingest.images.decode.worker 0"
            )

    def send(self, message: Any) -> None:
        """Send a value that JSON can express."""
        try:
            self._stream.write(json.dumps(message).encode() + b"\n")
            self._stream.flush()
        except OSError as error:
            raise self._death() from error

    def receive(self) -> Any:
        """Return the next value that the process sends."""
        try:
            line = self._stream.readline()
        except OSError as error:
            raise self._death() from error
        if not line.endswith(b"\n"):
            raise self._death()
        message = json.loads(line)
        if isinstance(message, dict) and _FAILURE in message:
            self.end()
            raise RuntimeError(message[_FAILURE])  # a bug, with its traceback
        return message

    def receive_into(self, array: NDArray[np.uint8]) -> None:
        """Fill a contiguous array with the bytes that the process sends."""
        try:
            received = self._stream.readinto(array.data.cast("B"))
        except OSError as error:
            raise self._death() from error
        if received != array.nbytes:
            raise self._death()

    def end(self) -> None:
        """Kill the process and close the socket; for any thread."""
        self.is_alive = False
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self._stream.close()
        self._socket.close()

    def _death(self) -> WorkerDiedError:
        self.end()
        return WorkerDiedError(f"exit status {self._process.returncode}")


def serve(handle: Callable[[Any, Iterator[Any], BinaryIO], None]) -> None:
    """Be a worker process: have `handle` answer what the parent sends, until the parent is gone.

    `handle` gets a message, those that follow it, and where to `answer`; what it raises is raised at the parent as a
    RuntimeError.
    """
    with socket.socket(fileno=int(sys.argv[1])) as parent:
        threading.Thread(target=_end_with, args=(parent.fileno(),), daemon=True).start()
        answers = parent.makefile("wb")
        answer(answers, _READY)
        messages = map(json.loads, parent.makefile("rb"))
        try:
            for message in messages:
                handle(message, messages, answers)
                answers.flush()
        except OSError:
            pass  # the parent is gone, or its socket is
        except Exception:  # noqa: BLE001  raised again at the parent
            answer(answers, {_FAILURE: traceback.format_exc()})


def answer(answers: BinaryIO, message: Any) -> None:
    """Send the parent a value that JSON can express; bytes may be written behind it."""
    answers.write(json.dumps(message).encode() + b"\n")
    answers.flush()


def _end_with(parent: int) -> None:
    """End this process, whatever it is doing, when the parent's socket closes."""
    poll = select.poll()
    poll.register(parent, 0)  # POLLHUP is always reported
    poll.poll()
    os._exit(0)


def _environment() -> dict[str, str]:
    """Return an environment in which the process finds ingest; it computes nothing on threads of its own."""
    paths = filter(None, [_PACKAGES, os.environ.get("PYTHONPATH")])
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)}
