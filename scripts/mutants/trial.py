"""Runs the tests of a module in a copy of the repository, in a child forked after the libraries were imported."""

from __future__ import annotations

import compileall
import importlib
import json
import os
import shutil
import signal
import socket
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
_COPIED = ("ingest", "tests")
_LEFT_OUT = {".git", ".hypothesis", "build"}
_WITHOUT = shutil.ignore_patterns("node_modules", "__pycache__", "build")
IMPORTED = (
    "pytest", "hypothesis", "xdist", "numpy", "pymilvus", "milvus_lite", "requests", "PIL.Image", "faiss",
    "pyarrow.parquet", "pandas", "torch", "transformers",
)  # fmt: skip
"""What the tests import and what takes long; nothing of `ingest`, which is imported from the copy."""
_PASSED = 0
_LEAST_S, _FACTOR = 30.0, 5.0
"""A child may take this long at least, and so many times as long as the tests without a fault."""
_BASELINE_S = 600.0


class TestsFailError(Exception):
    """The tests fail without a fault."""


class Forker:
    """A process with the libraries imported and one thread, which forks a child for each trial."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if not self._pid:
            self._socket.close()
            _serve(theirs)
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        os.waitpid(self._pid, 0)

    def start(self, folder: Path, tests: Sequence[str]) -> tuple[int, int]:
        """Start tests in a folder; return the child's process id, and a pipe that gets one byte, its exit code."""
        reading, writing = os.pipe()
        pid_reading, pid_writing = os.pipe()
        message = json.dumps({"folder": str(folder), "tests": list(tests)}).encode()
        socket.send_fds(self._socket, [message], [writing, pid_writing])
        os.close(writing)
        os.close(pid_writing)
        with os.fdopen(pid_reading, "rb") as file:
            pid = int.from_bytes(file.read(8), "big")
        return pid, reading


class Copy:
    """A copy of the code, for one trial at a time."""

    def __init__(self, folder: Path, forker: Forker) -> None:
        self._folder = folder
        self._forker = forker
        self._allowed: dict[tuple[str, ...], float] = {}
        folder.mkdir(parents=True)
        for path in ROOT.iterdir():
            if path.name in _COPIED:
                shutil.copytree(path, folder / path.name, symlinks=True, ignore=_WITHOUT)
            elif path.name not in _LEFT_OUT:
                (folder / path.name).symlink_to(path)
        compileall.compile_dir(folder / "ingest", quiet=2)

    def outcome(self, module: str, source: str, tests: Sequence[str]) -> str:
        """Run the tests with this source of a module: killed, timed out, or survived."""
        allowed = self._allowed_s(tuple(tests))
        path = self._folder / "ingest" / module
        before = path.read_bytes()
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()  # it may be of the same second and size
        path.write_text(source, encoding="utf-8")
        try:
            code, _ = self._run(tests, allowed)
        finally:
            path.write_bytes(before)
        return {None: "timed out", _PASSED: "survived"}.get(code, "killed")

    def _allowed_s(self, tests: tuple[str, ...]) -> float:
        """Return how long the tests may take; raises TestsFailError if they fail without a fault."""
        if tests not in self._allowed:
            code, took = self._run(tests, _BASELINE_S)
            if code != _PASSED:
                raise TestsFailError(f"without a fault: exit code {code}: pytest {' '.join(tests)}")
            self._allowed[tests] = max(_LEAST_S, _FACTOR * took)
        return self._allowed[tests]

    def _run(self, tests: Sequence[str], allowed: float) -> tuple[int | None, float]:
        began = time.monotonic()
        pid, pipe = self._forker.start(self._folder, tests)
        with os.fdopen(pipe, "rb", buffering=0) as ended:
            os.set_blocking(pipe, False)
            while not (code := ended.read(1)) and code is None and time.monotonic() - began < allowed:
                time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what the tests started, too
        return (code[0] if code else None if code is None else 1), time.monotonic() - began


def _serve(asked: socket.socket) -> NoReturn:
    """Fork a child for each message until nobody can send one."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")})
    os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
    for name in IMPORTED:
        importlib.import_module(name)
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, 2**16, 2)
        if not message:
            os._exit(0)
        if not os.fork():
            asked.close()
            _child(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _child(trial: dict[str, object], pipe: int, pid_pipe: int) -> NoReturn:
    os.setsid()
    os.write(pid_pipe, os.getpid().to_bytes(8, "big"))
    os.close(pid_pipe)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    code = 1
    try:
        folder = str(trial["folder"])
        os.chdir(folder)
        sys.dont_write_bytecode = True
        ours = {ROOT, ROOT / "tests", ROOT / "scripts"}
        sys.path[:] = [folder, *(path for path in sys.path if Path(path or folder).resolve() not in ours)]
        os.environ["PYTHONPATH"] = folder
        quiet = os.open(os.devnull, os.O_WRONLY)
        if not os.environ.get("MUTANTS_SHOW"):
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
        for name in [name for name in sys.modules if name.partition(".")[0] in ("mutants", "ingest")]:
            del sys.modules[name]
        import pytest

        tests = trial["tests"]
        assert isinstance(tests, list)
        code = int(
            pytest.main(
                [
                    "-x",
                    "-q",
                    "-p",
                    "no:cacheprovider",
                    "--hypothesis-seed=0",
                    "-W",
                    "ignore::pytest.PytestAssertRewriteWarning",
                    "--rootdir",
                    folder,
                    *tests,
                ]
            )
        )
    except BaseException:  # noqa: BLE001  a child of this process must not go on with its parent's work
        traceback.print_exc()
    finally:
        os.write(pipe, bytes([code]))
        os._exit(0)
