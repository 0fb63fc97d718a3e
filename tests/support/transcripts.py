"""Transcripts in the documentation: the commands of a page's `console` blocks run again, and what they print compared.

A block holds commands behind `$ `, their further lines behind `> `, and what they printed. All blocks of a page are
one session, in a fresh folder that has what a clone has. `ingest serve` stays until the page ends, on a free port; the
other commands then ask that one. To be recorded, commands are started as users do, so that their times are true.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.forked import Running, fork_server
from support.shop import COMMAND, ROOT, TIMEOUT_S, environment_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLONE = ("data/products.csv", "data/images", "data/models", "ingest.toml", "schema", "examples")
"""What the pages' commands read of a clone."""
SERVED = "http://127.0.0.1:8900"
_SHELL = re.compile(r"[|&;<>$`*?~\n\\]")
"""What only a shell understands."""
_QUOTED = re.compile(r"'[^']*'|\"[^\"$`\\\\]*\"")
_HEAD = re.compile(r" \| head -(\d+)$")
_PROGRESS = re.compile(r"^ingest: after \d+ s: .*\n", re.MULTILINE)
_VOLATILE = (
    (re.compile(r"^ok   (python|torch|device|disk) .*", re.MULTILINE), r"ok   \1"),
    (re.compile(r"\b20\d{6}T\d{6}Z(-\d+)?"), "<time>"),
    (re.compile(r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00:00|Z)?"), "<time>"),
    (re.compile(r"bound by: .*"), "bound by: <part>"),
    (re.compile(r"(?<![\w.])[-]?[01]\.\d{2,6}\b(?! [kMGT]?B)"), "<score>"),
    (re.compile(r"[\d,.]+(?= ?(ms|s|min|h|[kMGT]i?B|images/s|products/s|items/s)\b)"), "<n>"),
    (re.compile(r"[\d.]+ %"), "<n> %"),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(slots=True)
class Command:
    """A line that is typed, what the page says it prints, and what it printed now."""

    line: str
    told: str
    printed: str = ""
    code: int = 0


@dataclass(slots=True)
class Session:
    """A terminal in a folder of its own."""

    folder: Path
    started_anew: bool = False
    here: Path = field(init=False)
    service: Running | None = None
    address: str = SERVED
    code: int = 0  # of the last command

    def __post_init__(self) -> None:
        for name in CLONE:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            copy(ROOT / name, self.folder / name)
        self.here = self.folder

    def run(self, line: str) -> str:
        """Run a line as it is typed, and return what it prints on both streams."""
        words = shlex.split(line)
        if words[0] == "cd":
            self.here = (self.here / words[1]).resolve()
            return ""
        if words[:2] == ["ingest", "serve"]:
            return self._serve(words[1:])
        head = _HEAD.search(line)
        plain = line[: head.start()] if head else line
        if words[0] == "ingest" and not self.started_anew and not _SHELL.search(_QUOTED.sub("", plain)):
            printed = self._ingest(shlex.split(plain)[1:])
            printed = "".join(printed.splitlines(keepends=True)[: int(head[1])]) if head else printed
        else:
            printed = self._shell(line.replace(SERVED, self.address))
        shown = printed.replace(self.address, SERVED)
        for folder in (self.folder, ROOT):  # what is found in this checkout is in the clone
            shown = shown.replace(str(folder), "~/ingest")
        return _PROGRESS.sub("", shown)

    def close(self) -> None:
        """Stop the service, as Ctrl-C does."""
        if self.service is not None:
            self.service.terminate()
            self.service.wait(TIMEOUT_S)

    def _ingest(self, words: list[str]) -> str:
        log = self.folder / "printed.log"
        running = fork_server().start([COMMAND, *words], self.here, self._environment(), log=log)
        self.code = running.wait(TIMEOUT_S)
        return self._taken(log)

    def _serve(self, words: list[str]) -> str:
        log = self.folder / "served.log"
        environment = {**self._environment(), "INGEST_PORT": "0"}
        self.service = fork_server().start([COMMAND, *words], self.here, environment, log=log)
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := re.search(r"serving at (\S+?)/? ", log.read_text(encoding="utf-8"))):
            assert self.service.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, "ingest serve does not say where"
            time.sleep(0.02)
        self.address = found[1]
        return log.read_text(encoding="utf-8").replace(self.address, SERVED)

    def _shell(self, line: str) -> str:
        ended = subprocess.run(
            ["bash", "-c", line], cwd=self.here, env=self._environment(), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, encoding="utf-8", timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        self.code = ended.returncode
        assert "here-document" not in ended.stdout, ended.stdout
        return ended.stdout

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(COMMAND.parent), os.environ["PATH"]])
        return environment_of({"COLUMNS": "80", "TZ": "UTC", "LC_ALL": "C.UTF-8", "PATH": path})

    @staticmethod
    def _taken(log: Path) -> str:
        text = log.read_text(encoding="utf-8")
        log.unlink()
        return text


def commands(block: str) -> Iterator[Command]:
    """Yield the commands of a block, each with what stands below it."""
    for typed, more, told in re.findall(r"^\$ (.*)\n((?:>(?: .*)?\n)*)((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
        further = [row.removeprefix(">").removeprefix(" ") for row in more.splitlines()]
        yield Command("\n".join([typed, *further]), told)


def replay(page: str, folder: Path, *, started_anew: bool = False) -> list[list[Command]]:
    """Run the commands of a page in a fresh clone at `folder`; return them by block, with what they printed."""
    session = Session(folder, started_anew)
    try:
        blocks = [list(commands(found[1])) for found in BLOCK.finditer(page)]
        for command in (one for block in blocks for one in block):
            session.code = 0
            command.printed = "".join(f"{row.rstrip()}\n" for row in session.run(command.line).splitlines())
            command.code = session.code
    finally:
        session.close()
    return blocks


def recorded(page: str, blocks: list[list[Command]], *, anew: bool = False) -> str:
    """Return the page with what was printed now: wherever that says something else, or all of it `anew`.

    An error is not recorded by itself: a page that shows one has it typed in by hand.
    """
    written = iter(blocks)

    def one(_found: re.Match[str]) -> str:
        lines = [
            f"$ {_typed(command.line)}\n{command.printed if anew else _kept(command)}" for command in next(written)
        ]
        return f"```console\n{''.join(lines)}```"

    return BLOCK.sub(one, page)


def settled(text: str) -> list[str]:
    """Return the lines without what differs from machine to machine and from run to run, equal scores in any order."""
    for pattern, instead in _VOLATILE:
        text = pattern.sub(instead, text)
    return sorted(line.strip() for line in text.splitlines() if line.strip())


def _typed(line: str) -> str:
    """Return a command as a shell shows it, its further lines behind `>`."""
    return "\n".join(f"> {row}".rstrip() if number else row for number, row in enumerate(line.split("\n")))


def _kept(command: Command) -> str:
    if settled(command.told) == settled(command.printed):
        return command.told
    assert command.code == 0, f"$ {command.line}\n{command.printed}"
    return command.printed
