"""A file's bytes read once: its digest, its status and, of a JPEG, the bytes themselves, for decoding."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from ingest.core.file_type import HEAD, extension

if TYPE_CHECKING:
    from pathlib import Path


class FileFacts(NamedTuple):
    """A file's SHA-256, 32 bytes, and its size and mtime before it was read, so that a later change is noticed."""

    sha256: bytes
    size: int
    mtime_ns: int


def read_file(path: Path, keep: int = 0) -> tuple[FileFacts, bytes | None]:
    """Read a file; return its facts and, if it is a JPEG of at most `keep` bytes, its content. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if status.st_size <= keep:
            content = file.readall()
            is_kept = len(content) <= keep and extension(content[:HEAD]) == "jpg"
            sha256 = hashlib.sha256(content).digest()
            return FileFacts(sha256, status.st_size, status.st_mtime_ns), content if is_kept else None
        sha256 = hashlib.file_digest(file, "sha256").digest()
        return FileFacts(sha256, status.st_size, status.st_mtime_ns), None
