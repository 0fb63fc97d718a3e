"""Starts commands in children of one process that has everything imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Forked:
    """Runs the command line, one command at a time; what a command says is in `command.log` in its folder."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "faults" / "fork_server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip

    def run(
        self,
        folder: Path,
        *arguments: str,
        kill: tuple[str, int, float] | None = None,
        meddle: tuple[str, int, str, str, str] | None = None,
    ) -> int:
        """Run to the end, or into a kill: at which entry of which phase, and how many seconds later.

        `meddle` is what somebody else does meanwhile: at which entry of which phase, what, to which server and alias.
        Returns the exit code, -9 for killed.
        """
        request = {"arguments": arguments, "folder": str(folder), "kill": kill, "meddle": meddle}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return int(json.loads(self._server.stdout.readline())["code"])

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()
