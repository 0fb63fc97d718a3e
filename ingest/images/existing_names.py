"""What exists where a catalog's path names nothing: the same name in another case, Unicode form or with its escapes."""

from __future__ import annotations

import os
import unicodedata
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_FOLDERS, _NAMES = 4, 50_000  # folders remembered, and names in each; in a larger one nothing is looked for


class ExistingNames:
    """Finds files by names that are nearly right, in the folders that local images may be in."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._names = lru_cache(_FOLDERS)(_list_names)

    def describe(self, image: str) -> str:
        """Return what a path, which names no file, may mean: the end of a message; "" if there is nothing like it."""
        parts = PurePosixPath(image.replace("\\", "/").removeprefix("~")).parts
        wanted = [part for part in parts if part not in ("/", ".")]
        for folder in self._folders:
            if wanted and (found := self._find(folder, wanted)) is not None:
                return f"there is {found!r}{_difference('/'.join(wanted), found)}; write it as the file is called"
        return ""

    def _find(self, folder: Path, wanted: list[str]) -> str | None:
        found: list[str] = []
        for part in wanted:
            place = folder.joinpath(*found)
            name = part if _exists(place / part) else self._names(place).get(_fold(part))
            if name is None or part == "..":
                return None
            found.append(name)
        return "/".join(found)


def _list_names(folder: Path) -> Mapping[str, str]:
    """Return the names in a folder by how they are compared; none of a folder that is too large or cannot be read."""
    names: dict[str, str] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(names) == _NAMES:
                    return {}
                names.setdefault(_fold(entry.name), entry.name)
    except (OSError, ValueError):
        return {}
    return names


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _fold(name: str) -> str:
    """Return a name without what may differ. Case folding can undo a normal form, so that comes last."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", unquote(name)).casefold())


def _difference(wanted: str, found: str) -> str:
    if wanted == found:
        return " in the catalog's folder"
    if unicodedata.normalize("NFC", wanted) == unicodedata.normalize("NFC", found):
        form = "NFD" if unicodedata.is_normalized("NFD", found) else "NFC"
        return f", whose characters are encoded in another way ({form})"
    if unicodedata.normalize("NFC", wanted).casefold() == unicodedata.normalize("NFC", found).casefold():
        return ", in which upper and lower case differ"
    return ""
