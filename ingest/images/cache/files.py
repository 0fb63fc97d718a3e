"""The files of the cache folder: which ones hold a product's image, and which a killed run left incomplete."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from typing import TYPE_CHECKING

from ingest.core.file_type import HEAD, extension
from ingest.images.cache.filenames import encode, is_safe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXTENSIONS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tiff", "tif", "avif", "JPG", "JPEG", "PNG")
"""The extensions that this and other programs give to images of the types in `file_type`."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.part")


def temporary_name() -> str:
    """Return a new name for a download that is not complete yet."""
    return f".{uuid.uuid4().hex}.part"


def scan(folder: Path) -> tuple[int, list[str]]:
    """Return the XOR of the hashes of all images' names, and the names that a killed run left incomplete.

    Raises OSError if the folder cannot be read.
    """
    fingerprint = 0
    incomplete: list[str] = []
    if not folder.exists():
        return fingerprint, incomplete
    with os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                incomplete.append(entry.name)
            elif entry.name.rpartition(".")[2] in EXTENSIONS:
                fingerprint ^= hash(entry.name)
    return fingerprint, incomplete


def product_files(folder: Path, product_id: str, *, ignores_case: bool) -> Iterator[str]:
    """Yield the names of a product's files: under our name for it, or under its id, as other programs save them.

    `ignores_case` says that the file system takes `abc.jpg` and `ABC.jpg` for one name.
    """
    stems = [encode(product_id)]
    if is_safe(product_id) and product_id not in stems:
        stems.append(product_id)
    for stem in stems:
        for kind in EXTENSIONS:
            name = f"{stem}.{kind}"
            # os.path and not Path: this runs 24 times per product.
            if not os.path.isfile(os.path.join(folder, name)):  # noqa: PTH113, PTH118
                continue
            if not ignores_case or name in os.listdir(folder):  # noqa: PTH208
                yield name


def is_image(path: Path) -> bool:
    """Whether a file begins as an image of a known type does."""
    with path.open("rb") as file:
        return extension(file.read(HEAD)) is not None


def storable(path: str) -> str:
    """Return `path` as text that SQLite can hold: on Linux a name need not be valid UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def hash_file(path: Path) -> tuple[bytes, os.stat_result]:
    """Return a file's SHA-256, and its status from before the reading, so that a change meanwhile is noticed later."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        return hashlib.file_digest(file, "sha256").digest(), status
