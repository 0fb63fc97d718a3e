"""Images that lie inside a catalog, as Parquet data sets have them, unpacked into files named by their content."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any

from ingest.core.errors import StorageError
from ingest.core.file_type import HEAD, extension

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "unpacked"
"""In the data folder; a folder that local images may be in."""
_NAME = re.compile(r"[0-9a-f]{64}\.[a-z]+")


def is_unpacked(name: str) -> bool:
    """Whether a name may be one that `unpack` gives."""
    return _NAME.fullmatch(name) is not None


def unpack(cell: Any, folder: Path | None) -> Any:
    """Return a cell of an image column with names of files in the place of bytes; text and lists of text as they are.

    A cell is the bytes of an image, or a struct of `bytes` and `path`, of which the path counts if there are no bytes,
    or a list of either. Without a folder bytes stay as they are. Raises StorageError if a file cannot be written.
    """
    if isinstance(cell, list):
        return [unpack(one, folder) for one in cell]
    if isinstance(cell, dict) and cell.keys() <= {"bytes", "path"}:
        content = cell.get("bytes")
        if not content:
            return cell.get("path")
        return cell if folder is None else _write(content, folder, extension(content[:HEAD]) or "img")
    if isinstance(cell, bytes) and folder is not None and (kind := extension(cell[:HEAD])):
        return _write(cell, folder, kind)
    return cell


def _write(content: bytes, folder: Path, kind: str) -> str:
    """Write a file that is not there yet, whole or not at all, and return its name."""
    name = hashlib.sha256(content).hexdigest() + f".{kind}"
    path = folder / name
    try:
        if not path.exists() or path.stat().st_size != len(content):
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f"{name}.{os.getpid()}"
            temporary.write_bytes(content)
            temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: an image of the catalog cannot be unpacked: {error.strerror}") from error
    return name
