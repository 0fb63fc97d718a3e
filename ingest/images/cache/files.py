"""The cache folder as a run finds it: which names there are pictures, and which a killed run left half written."""

from __future__ import annotations

import os
import re
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tiff", "tif", "avif", "JPG", "JPEG", "PNG")
"""What this and other programs call the pictures that `sniff` knows."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.part")


def temporary_name() -> str:
    """Return a new name for a download that is not whole yet."""
    return f".{uuid.uuid4().hex}.part"


def scan(folder: Path) -> tuple[int, list[str]]:
    """Return the exclusive or of the hashes of all images' names, and the names of what a killed run left half written.

    Raises OSError where the folder cannot be read.
    """
    fingerprint = 0
    left: list[str] = []
    if not folder.exists():
        return fingerprint, left
    with os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                left.append(entry.name)
            elif entry.name.rpartition(".")[2] in EXTENSIONS:
                fingerprint ^= hash(entry.name)
    return fingerprint, left
