"""Images that lie inside a catalog, as Parquet data sets have them, unpacked into files named by their content."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from ingest.core.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "unpacked"
"""In the data folder; a folder that local images may be in."""
_ENDINGS = (
    (b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"RIFF", ".webp"), (b"BM", ".bmp"),
    (b"II*\0", ".tif"), (b"MM\0*", ".tif"),
)  # fmt: skip


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
        return cell if folder is None else _write(content, folder, _ending(content) or ".img")
    if isinstance(cell, bytes) and folder is not None and (ending := _ending(cell)):
        return _write(cell, folder, ending)
    return cell


def _ending(content: bytes) -> str:
    return next((ending for start, ending in _ENDINGS if content.startswith(start)), "")


def _write(content: bytes, folder: Path, ending: str) -> str:
    """Write a file that is not there yet, whole or not at all, and return its name."""
    name = hashlib.sha256(content).hexdigest() + ending
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
