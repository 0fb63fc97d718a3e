"""Starts commands in forked children that have torch, transformers and pymilvus imported: milliseconds, not seconds.

A program of its own, started by `forked.ForkServer` with a socket to which all workers of a run connect. Each message
is one command: a JSON object and four descriptors, the child's stdin, stdout and stderr, and a pipe that gets its
process number and later how it ended. The server ends soon after the last worker. A child is a copy of a process with
one thread, which is asserted before each fork: a copy of more could never go on.

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
from typing import TYPE_CHECKING, Any, NoReturn

from ingest.milvus import connection

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the supervisors
    workers: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([door, *workers], [], [], None if workers else IDLE_S)
        if not ready and closed(door, lock):
            return
        for worker in ready:
            if worker is door:
                workers.append(door.accept()[0])
            elif not started(worker, [door, *workers]):
                workers.remove(worker)
                worker.close()


def closed(door: socket.socket, lock: Path) -> bool:
    """Close the door unless somebody is about to come in, who holds the lock; return whether it is closed."""
    with suppress(FileNotFoundError), lock.open() as held:  # the run's folder may be gone
        fcntl.flock(held, fcntl.LOCK_EX)
        if select.select([door], [], [], 0)[0]:
            return False
        door.close()
    return True


def started(worker: socket.socket, sockets: Sequence[socket.socket]) -> bool:
    """Start the command that a worker asks for, without our sockets; return whether there was one."""
    message, descriptors, _, _ = socket.recv_fds(worker, LARGEST_MESSAGE, DESCRIPTORS)
    if not message:
        return False
    assert_one_thread()
    if not os.fork():
        for one in sockets:
            one.close()
        supervise(json.loads(message), *descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    return True


def assert_one_thread() -> None:
    """Raise if this process has another thread, of Python or of a library: forked, it would not exist."""
    threads = Path("/proc/self/task")
    count = len(list(threads.iterdir())) if threads.exists() else threading.active_count()
    assert count == threading.active_count() == 1, f"the fork server has {count} threads"


def supervise(command: dict[str, Any], stdin: int, stdout: int, stderr: int, pipe: int) -> NoReturn:
    """Fork once more, say which process that is, and at its end how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)  # until the first line of the command: then it is its own affair
    child = os.fork()
    if not child:
        os.close(pipe)
        for target, source in enumerate((stdin, stdout, stderr)):
            os.dup2(source, target)
            os.close(source)
        run(command)
    for descriptor in (stdin, stdout, stderr):
        os.close(descriptor)
    os.write(pipe, child.to_bytes(ENDED, "big", signed=True))
    _, status = os.waitpid(child, 0)
    os.write(pipe, os.waitstatus_to_exitcode(status).to_bytes(ENDED, "big", signed=True))
    os._exit(0)


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
