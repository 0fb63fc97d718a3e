"""A filled shop as one archive: git keeps neither the times of files nor the place where they lay, and both matter."""

from __future__ import annotations

import json
import os
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from upgrade.seen import INDEX

if TYPE_CHECKING:
    from collections.abc import Iterable

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.tar.xz"))
"""One for each version that users may come from, named after its commit."""

_PLACE = "place.json"
_NEEDLESS = (".lock", ".pid")


def pack(folder: Path, archive: Path) -> None:
    """Pack a shop's folder, in which nothing runs any more."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(_NEEDLESS)]
    times = {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}
    (folder / _PLACE).write_text(json.dumps({"folder": str(folder), "mtime_ns": times}), encoding="utf-8")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for path in [*files, folder / _PLACE]:
            packed.add(path, path.relative_to(folder).as_posix(), filter=_anonymous)
    (folder / _PLACE).unlink()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a shop into `folder` as if it had been filled there: times, and the paths that the image index keeps."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    place = json.loads((folder / _PLACE).read_text(encoding="utf-8"))
    (folder / _PLACE).unlink()
    _move(folder / INDEX, place["folder"], str(folder))
    _set_times(folder, place["mtime_ns"].items())


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _move(index: Path, was: str, now: str) -> None:
    """Change the paths of local images, the only ones in a data folder that a later run goes by."""
    with closing(sqlite3.connect(index)) as database, database:
        database.execute(
            "UPDATE picture SET source = ? || substr(source, ?) WHERE substr(source, 1, ?) = ?",
            (now, len(was) + 1, len(was) + 1, f"{was}/"),
        )


def _set_times(folder: Path, times: Iterable[tuple[str, int]]) -> None:
    for name, at in times:
        os.utime(folder / name, ns=(at, at))
