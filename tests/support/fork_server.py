"""Starts commands in forked children that have torch, transformers and pymilvus imported: milliseconds, not seconds.

A program of its own, started by `forked.ForkServer` with a socket to which all workers of a run connect. Each message
is one command: a JSON object and four descriptors, the child's stdin, stdout and stderr, and a pipe that gets its
process number and later how it ended. The server ends soon after the last worker and the last command. A child is a
copy of a process with one thread, which is asserted before each fork: a copy of more could never go on.

What Python does at the start of a process is done in the child: the environment, the command line, the folder, the
`sitecustomize` of a PYTHONPATH. What a library reads from the environment while it is imported has been read; commands
to which that matters are started for real (`shop.needs_a_start`).
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ingest.milvus import connection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LARGEST_MESSAGE = 2**20
DESCRIPTORS = 4
HELD = (signal.SIGINT, signal.SIGTERM)
ENDED = 8  # bytes of a number in the pipe
IDLE_S = 1.0
"""So long the server goes on with no worker connected, for one that comes late."""

IMPORTED = (
    "faiss", "filelock", "ingest.cli.main", "milvus_lite.adapter.grpc.server", "numpy", "pandas", "PIL.Image",
    "pyarrow.parquet", "pymilvus", "requests", "rich.progress", "rich.table", "s3fs", "torch", "transformers",
    "transformers.models.auto.tokenization_auto", "transformers.models.clip.modeling_clip",
    "transformers.models.siglip.modeling_siglip",
)  # fmt: skip
"""What commands import, and what takes long."""


def main() -> None:
    """Import, then start what comes, until nobody is left who could ask."""
    door, lock = socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])
    gc.disable()
    connection._client_class()  # first, as commands do: gRPC reads how much it may print when it is imported
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # pages that the children's garbage collection need not copy
    gc.enable()
    workers: list[socket.socket] = []
    running: dict[int, Child] = {}  # by the descriptor that is ready when the child has ended
    while True:
        is_needed = workers or running
        ready, _, _ = select.select([door, *workers, *running], [], [], None if is_needed else IDLE_S)
        if not ready and closed(door, lock):
            return
        for one in ready:
            if isinstance(one, int):
                tell_end(running.pop(one))
                os.close(one)
            elif one is door:
                workers.append(door.accept()[0])
            elif (child := started(one, [door, *workers], running)) is None:
                workers.remove(one)
                one.close()
            else:
                running[os.pidfd_open(child.pid)] = child


class Child(NamedTuple):
    """A command that runs, and the pipe of who started it."""

    pid: int
    pipe: int


def closed(door: socket.socket, lock: Path) -> bool:
    """Close the door unless somebody is about to come in, who holds the lock; return whether it is closed."""
    with suppress(FileNotFoundError), lock.open() as held:  # the run's folder may be gone
        fcntl.flock(held, fcntl.LOCK_EX)
        if select.select([door], [], [], 0)[0]:
            return False
        door.close()
    return True


def started(worker: socket.socket, sockets: Sequence[socket.socket], running: Mapping[int, Child]) -> Child | None:
    """Start the command that a worker asks for, without what is ours; None if there was none."""
    message, descriptors, _, _ = socket.recv_fds(worker, LARGEST_MESSAGE, DESCRIPTORS)
    if not message:
        return None
    *streams, pipe = descriptors
    assert_one_thread()
    # Held back until the first line of the command: then a signal is its own affair.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    pid = os.fork()
    if not pid:
        for one in sockets:
            one.close()
        for descriptor in (pipe, *running, *(child.pipe for child in running.values())):
            os.close(descriptor)
        for target, source in enumerate(streams):
            os.dup2(source, target)
            os.close(source)
        run(json.loads(message))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for descriptor in streams:
        os.close(descriptor)
    tell(pipe, pid)
    return Child(pid, pipe)


def assert_one_thread() -> None:
    """Raise if this process has another thread, of Python or of a library: forked, it would not exist."""
    threads = Path("/proc/self/task")
    count = len(list(threads.iterdir())) if threads.exists() else threading.active_count()
    assert count == threading.active_count() == 1, f"the fork server has {count} threads"


def tell_end(child: Child) -> None:
    """Say how a command has ended."""
    _, status = os.waitpid(child.pid, 0)
    tell(child.pipe, os.waitstatus_to_exitcode(status))
    os.close(child.pipe)


def tell(pipe: int, number: int) -> None:
    with suppress(OSError):  # whoever started the command is gone
        os.write(pipe, number.to_bytes(ENDED, "big", signed=True))


def run(command: dict[str, Any]) -> NoReturn:
    """Become the command."""
    code: Any = 1
    try:
        os.setsid()
        os.chdir(command["folder"])
        os.environ.clear()
        os.environ.update(command["environment"])
        program, *arguments = command["arguments"]
        sys.argv = [program, *arguments]
        sys.orig_argv = [sys.executable, *sys.argv]
        customise(os.environ.get("PYTHONPATH", ""))
        for module, function, values in command["before"]:
            getattr(importlib.import_module(module), function)(*values)
        if program == "-c":
            sys.argv[:2] = [program]
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
            exec(arguments[0], {"__name__": "__main__"})
        else:
            importlib.import_module("ingest.cli.main").main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  as Python ends a process
        traceback.print_exc()
    finally:
        leave(code)


def customise(path: str) -> None:
    """Do with PYTHONPATH what Python does at its start."""
    for folder in reversed(path.split(os.pathsep) if path else []):
        sys.path.insert(0, folder)
        if (program := Path(folder, "sitecustomize.py")).is_file():
            runpy.run_path(str(program))


def leave(code: int) -> NoReturn:
    """End as a process ends: its threads first, then what was left to be done."""
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
