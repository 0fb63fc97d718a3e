"""The command line of one version of `ingest`, called many times in one process: this one's, or another version's.

As a script it answers lines on stdin with lines on stdout, JSON both, for whichever `ingest` is importable there; so it
must import nothing else of the tests.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What stands on stdout, which must be JSON and nothing else."""
        return json.loads(self.out)


class Here:
    """Calls the `ingest` of this process, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *arguments: str) -> Ended:
        from ingest.cli.main import main

        out, err = io.StringIO(), io.StringIO()
        with chdir(self._folder), redirect_stdout(out), redirect_stderr(err):
            try:
                main(list(arguments))
            except SystemExit as ended:
                return Ended(int(ended.code or 0), out.getvalue(), err.getvalue())
        raise AssertionError("main ends by SystemExit")


class Elsewhere:
    """Calls the `ingest` of another environment, in `folder`; a context manager that ends its process."""

    def __init__(self, folder: Path, python: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [python, "-u", __file__], cwd=folder, env={**environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def __call__(self, *arguments: str) -> Ended:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(arguments) + "\n")
        stdin.flush()
        return Ended(**json.loads(stdout.readline()))


def _answer() -> None:
    here = Here(Path())
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    for line in sys.stdin:
        ended = here(*json.loads(line))
        answers.write(json.dumps({"code": ended.code, "out": ended.out, "err": ended.err}) + "\n")
        answers.flush()


if __name__ == "__main__":
    _answer()
