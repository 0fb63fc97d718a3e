"""Processes for work that may crash, hang or hold Python's lock, lent to the threads that wait for it.

They are started as programs, not by multiprocessing: its spawn and forkserver import the caller's `__main__`, which
runs a script again that calls `ingest.run()`, and to fork a process with threads is unsafe. Both sides talk over a pair
of sockets, in lines of JSON, and share memory, so that a program that was taken over can send no more than data. The
memory has no name: nothing is left behind, and a container's small /dev/shm does not matter. A process ends when its
parent's socket closes, however the parent ended.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ingest.core.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TIMEOUT_S = 60.0
"""A process that neither answers nor takes a `step` for longer counts as hanging."""
LEAST_SHARED_BYTES = 64 * 2**20
"""Memory that a process shares with its parent, at least; only what was written to takes any."""
_SHARED_BY_ALL = 2**30  # bytes, divided among the processes

_PACKAGES = str(Path(__file__).parents[2])  # of this ingest, installed or not
_STEPS = struct.Struct("<q")  # at the end of the shared memory: how many steps the process has taken
_STARTS = 3  # if a process is killed while it starts, as for lack of memory
_READY, _FAILURE = "ready", "failure"


class WorkerDiedError(Exception):
    """A process crashed, or was silent for too long. The next task gets another one."""


class WorkerProcesses:
    """At most `most` processes, started when they are needed; a context manager that ends them. For any threads.

    `module` is a program of ours that calls `serve`; `command` stands for another one in tests.
    """

    def __init__(self, module: str, most: int, timeout_s: float = TIMEOUT_S, command: Sequence[str] = ()) -> None:
        self._command = list(command) or [sys.executable, "-P", "-m", module]
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._free = threading.Semaphore(most)
        self._shared_bytes = max(LEAST_SHARED_BYTES, _SHARED_BY_ALL // most)
        self._idle: list[Worker] = []
        self._all: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            for worker in self._all:
                worker.end()
            self._all.clear()
            self._idle.clear()

    @contextmanager
    def lend(self) -> Iterator[Worker]:
        """Lend the caller a process, when one is free. Raises EngineError if none can be started."""
        with self._free:
            worker = self._idle_one() or self._start()
            try:
                yield worker
            except BaseException:
                worker.end()  # its answer may still be to come
                raise
            if worker.is_alive:
                with self._lock:
                    self._idle.append(worker)

    def _idle_one(self) -> Worker | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _start(self) -> Worker:
        for _ in range(_STARTS):
            worker = Worker(self._command, self._timeout_s, self._shared_bytes)
            with self._lock:
                self._all = [*(other for other in self._all if other.is_alive), worker]
            worker.wait_until_ready()
            if worker.is_alive:
                return worker
        raise EngineError("processes are killed while they start; free some memory, or lower --decode-workers")


class Worker:
    """A process and this side of the sockets, for one thread. If it dies, it is ended, and WorkerDiedError raised.

    `shared` is the memory; its first `shared_bytes` are for the task.
    """

    def __init__(self, command: Sequence[str], timeout_s: float, shared_bytes: int = LEAST_SHARED_BYTES) -> None:
        self.shared_bytes = shared_bytes
        ours, theirs = socket.socketpair()
        file = _unnamed_file()
        try:
            os.ftruncate(file, shared_bytes + _STEPS.size)
            self.shared = mmap.mmap(file, shared_bytes + _STEPS.size)
            self._process = subprocess.Popen(  # noqa: S603  our own program
                [*command, str(theirs.fileno()), str(file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), file],
                env=_environment(),
                start_new_session=True,  # Ctrl-C ends the run, not the image being decoded
            )
        except OSError as error:
            ours.close()
            raise EngineError(f"no process can be started ({error.strerror}); lower --decode-workers") from error
        finally:
            os.close(file)
            theirs.close()
        ours.settimeout(TIMEOUT_S)  # to start, whatever it has for a task
        self._socket = ours
        self._timeout_s = timeout_s
        self._stream = ours.makefile("rwb")
        self.is_alive = True

    @property
    def steps(self) -> int:
        """How many steps of its task the process has taken; readable also when it is dead."""
        steps: int = _STEPS.unpack_from(self.shared, self.shared_bytes)[0]
        return steps

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
        _STEPS.pack_into(self.shared, self.shared_bytes, 0)
        try:
            self._stream.write(json.dumps(message).encode() + b"\n")
            self._stream.flush()
        except OSError as error:
            raise self._death() from error

    def receive(self) -> Any:
        """Return the next value that the process sends."""
        steps = self.steps
        while True:
            try:
                line = self._stream.readline()
                break
            except TimeoutError:
                steps, before = self.steps, steps
                if steps == before:
                    raise self._death() from None
                self._stream = self._socket.makefile("rwb")  # the old one refuses to read after a timeout
            except OSError as error:
                raise self._death() from error
        if not line.endswith(b"\n"):
            raise self._death()
        message = json.loads(line)
        if isinstance(message, dict) and _FAILURE in message:
            self.end()
            raise RuntimeError(message[_FAILURE])  # a bug, with its traceback
        return message

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


class Parent:
    """The other side, as a worker process sees it: messages to read, and memory to write to."""

    def __init__(self, connection: socket.socket, shared: mmap.mmap) -> None:
        self.shared = shared
        self.shared_bytes = len(shared) - _STEPS.size
        self._messages = map(json.loads, connection.makefile("rb"))
        self._answers = connection.makefile("wb")

    def __iter__(self) -> Iterator[Any]:
        return self._messages

    def step(self) -> None:
        """Show that the task goes on."""
        (steps,) = _STEPS.unpack_from(self.shared, self.shared_bytes)
        _STEPS.pack_into(self.shared, self.shared_bytes, steps + 1)

    def answer(self, message: Any) -> None:
        """Send a value that JSON can express."""
        self._answers.write(json.dumps(message).encode() + b"\n")
        self._answers.flush()


def serve(handle: Callable[[Any, Parent], None]) -> None:
    """Be a worker process: have `handle` answer what the parent sends, until the parent is gone.

    What `handle` raises is raised at the parent as a RuntimeError. A signal to the whole group, as when a service is
    stopped, is the parent's to act on.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        threading.Thread(target=_end_with, args=(connection.fileno(),), daemon=True).start()
        file = int(sys.argv[2])
        parent = Parent(connection, mmap.mmap(file, os.fstat(file).st_size))
        parent.answer(_READY)
        try:
            for message in parent:
                handle(message, parent)
        except OSError:
            pass  # the parent is gone
        except Exception:  # noqa: BLE001  raised again at the parent
            parent.answer({_FAILURE: traceback.format_exc()})


def _end_with(connection: int) -> None:
    """End this process, whatever it is doing, when the parent's socket closes."""
    poll = select.poll()
    poll.register(connection, 0)  # POLLHUP is always reported
    poll.poll()
    os._exit(0)


def _unnamed_file() -> int:
    """Return the descriptor of a file in memory or, where there is no such thing, of a temporary one."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("ingest")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _environment() -> dict[str, str]:
    """Return an environment in which the process finds ingest; it computes nothing on threads of its own."""
    paths = filter(None, [_PACKAGES, os.environ.get("PYTHONPATH")])
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)}
