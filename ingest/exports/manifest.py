"""The manifest beside exported files: what they were made from, with each file's size and SHA-256.

It is deleted before the first of its files is replaced and written after the last, so files without a manifest are
incomplete and are written again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from ingest.runtime.atomic_files import atomic_write, storage_errors, sync_folder

if TYPE_CHECKING:
    from pathlib import Path

ALTERED = "is not the file its manifest was written for"
"""A fault that only hashing the file finds: a run compares sizes alone, and may leave such a file in place."""


@dataclass(frozen=True, slots=True)
class FileChecksum:
    """A file's size in bytes and its SHA-256 in hex, as `sha256sum` prints it."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What exported files hold: `rows` unit vectors of `dim` float32 in the embedding space `fingerprint`.

    `content` is a digest of what they were made from; `files` has a `FileChecksum` for each file name. `high_water` is
    the rows of the last seven exports, from the most on; [] if these files have the most.
    """

    rows: int
    dim: int
    fingerprint: str
    content: str
    files: dict[str, FileChecksum]
    high_water: list[int] = field(default_factory=list)

    def matches(self, content: str, fingerprint: str, *paths: Path) -> bool:
        """Return whether the manifest is for this content and space, and `paths` exist with the sizes it notes."""
        return (self.content, self.fingerprint) == (content, fingerprint) and self.matches_sizes(*paths)

    def matches_sizes(self, *paths: Path) -> bool:
        """Return whether `paths` are the manifest's files, and have the sizes it notes."""
        return set(self.files) == {path.name for path in paths} and all(
            path.is_file() and path.stat().st_size == self.files[path.name].bytes for path in paths
        )


def manifest_path(path: Path) -> Path:
    """Return the path of an exported file's manifest: `<name>.manifest.json`, beside the file."""
    return path.with_name(f"{path.stem}.manifest.json")


def read_manifest(path: Path) -> Manifest | None:
    """Return an exported file's manifest, or None if it is missing or damaged: then the files are written again."""
    try:
        table = json.loads(manifest_path(path).read_text(encoding="utf-8"))
        return Manifest(**{**table, "files": {name: FileChecksum(**entry) for name, entry in table["files"].items()}})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest of an exported file, whole or not at all."""
    content = asdict(manifest)
    if not manifest.high_water:
        del content["high_water"]  # as older versions know it
    with atomic_write(manifest_path(path)) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")


def remove_manifest(path: Path) -> None:
    """Delete the manifest of a file that is about to be replaced.

    After a kill halfway, the sizes could still match it, for example if two products changed places.
    """
    manifest = manifest_path(path)
    with storage_errors(manifest):
        manifest.unlink(missing_ok=True)
        sync_folder(manifest.parent)


def checksum_faults(manifest: Manifest, *paths: Path) -> list[tuple[Path, str]]:
    """Return the files that are missing, or differ from their manifest in size or SHA-256, and the fault of each."""
    faults = []
    for path in paths:
        noted = manifest.files.get(path.name)
        if not path.is_file():
            faults.append((path, "is missing"))
        elif noted is None or path.stat().st_size != noted.bytes or file_sha256(path) != noted.sha256:
            faults.append((path, ALTERED))
    return faults


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class ChecksumWriter:
    """Writes to the file that will be renamed to `path`, and keeps its size and SHA-256."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._digest = hashlib.sha256()
        self._bytes = 0

    def write(self, data: bytes) -> int:
        """Write `data`; raises StorageError with the path if the disk is full."""
        self._digest.update(data)
        self._bytes += len(data)
        with storage_errors(self._path):
            return self._file.write(data)

    def checksum(self) -> FileChecksum:
        """Return the size and SHA-256 of what was written."""
        return FileChecksum(self._bytes, self._digest.hexdigest())
