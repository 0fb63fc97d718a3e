"""Commands in children of a process that has everything imported; they look like those of `subprocess`."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from support.fork_server import ENDED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PROGRAM = Path(__file__).with_name("fork_server.py")
_ROOT = _PROGRAM.parents[2]


class Running:
    """A command that was started: what `subprocess.Popen` offers, as far as tests ask for it."""

    def __init__(self, arguments: Sequence[str], pipe: IO[bytes], out: IO[bytes] | None, err: IO[bytes] | None) -> None:
        self.args = arguments
        self.pid = self._number(pipe)
        self.returncode: int | None = None
        self._written = ("", "")
        self._waiting = threading.Thread(target=self._wait, args=(pipe, out, err), daemon=True)
        self._waiting.start()

    def poll(self) -> int | None:
        """Return how it ended, or None."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its code, a signal's number less than 0."""
        self._waiting.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end and return what it wrote."""
        self.wait(timeout)
        return self._written

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal if it still runs."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _wait(self, pipe: IO[bytes], out: IO[bytes] | None, err: IO[bytes] | None) -> None:
        with pipe:
            code = self._number(pipe)
        self._written = self._read(out), self._read(err)
        self.returncode = code

    @staticmethod
    def _number(pipe: IO[bytes]) -> int:
        found = pipe.read(ENDED)
        assert len(found) == ENDED, "the fork server is gone: see its error above"
        return int.from_bytes(found, "big", signed=True)

    @staticmethod
    def _read(file: IO[bytes] | None) -> str:
        if file is None:
            return ""
        with file:
            file.seek(0)
            return file.read().decode("utf-8")


class ForkServer:
    """A connection to the process that children are forked from: one for all workers, started by the first to ask."""

    def __init__(self, folder: Path) -> None:
        self._commands = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with (folder / "commands.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                self._commands.connect(str(folder / "commands"))
            except (FileNotFoundError, ConnectionRefusedError):  # nobody has asked yet, or all who did have ended
                (folder / "commands").unlink(missing_ok=True)
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
                    door.bind(str(folder / "commands"))
                    door.listen()
                    self._commands.connect(str(folder / "commands"))
                    _start(door, folder / "commands.lock")

    def start(
        self,
        arguments: Sequence[str | Path],
        folder: Path,
        environment: Mapping[str, str],
        *,
        stdin: str = "",
        log: Path | None = None,
        before: Sequence[tuple[str, str, Sequence[Any]]] = (),
    ) -> Running:
        """Start a command, or "-c" and a program; what it writes goes to `log`, or is kept for `communicate`.

        `before` are functions that the child calls first: module, name, arguments.
        """
        words = [str(word) for word in arguments]
        message = {"arguments": words, "folder": str(folder), "environment": dict(environment), "before": list(before)}
        out, err = (None, None) if log else (tempfile.TemporaryFile(), tempfile.TemporaryFile())  # noqa: SIM115
        reading, writing = os.pipe()
        with (
            tempfile.TemporaryFile() as given,
            os.fdopen(writing, "wb") as pipe,
            Path(log or os.devnull).open("wb") as file,
        ):
            given.write(stdin.encode())
            given.seek(0)
            files = [given, out or file, err or file, pipe]
            socket.send_fds(self._commands, [json.dumps(message).encode()], [file.fileno() for file in files])
        return Running(words, os.fdopen(reading, "rb"), out, err)

    def close(self) -> None:
        """Leave the server, which ends after the last who does; its children go on."""
        self._commands.close()


def _start(door: socket.socket, lock: Path) -> None:
    """Start the server, which may outlive this process, with the socket to knock at and the lock to take before."""
    one_thread = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    one_thread["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # pyarrow's allocator
    paths = [str(_ROOT), str(_PROGRAM.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | one_thread | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1"}
    door.set_inheritable(True)
    program = [sys.executable, str(_PROGRAM), str(door.fileno()), str(lock)]
    os.posix_spawn(sys.executable, program, environment, setsid=True)


@cache
def fork_server() -> ForkServer:
    """Return this worker's connection to the server; it is closed at the worker's end."""
    server = ForkServer(Path(os.environ["INGEST_TESTS_FOLDER"]))
    atexit.register(server.close)
    return server
