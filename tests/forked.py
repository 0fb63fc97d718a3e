"""Commands in children of a process that has everything imported; they look like those of `subprocess`."""

from __future__ import annotations

import atexit
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

from fork_server import ENDED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PROGRAM = Path(__file__).with_name("fork_server.py")
_ROOT = _PROGRAM.parents[1]


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
    """The process that children are forked from; one for each process of tests, started when first asked."""

    def __init__(self) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._commands = ours
        one_thread = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
        one_thread["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # pyarrow's allocator
        paths = [str(_ROOT), str(_PROGRAM.parent), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | one_thread | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with its:
            self._process = subprocess.Popen(
                [sys.executable, str(_PROGRAM), str(its.fileno())], pass_fds=[its.fileno()],
                env=environment | {"HF_HUB_OFFLINE": "1"}, start_new_session=True,
            )  # fmt: skip

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
        """End the server; its children go on."""
        self._commands.close()
        self._process.wait(30)


@cache
def fork_server() -> ForkServer:
    """Return the server of this process of tests; it ends with it."""
    server = ForkServer()
    atexit.register(server.close)
    return server
