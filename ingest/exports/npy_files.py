"""The vectors as files for other programs: a `.npy` of unit rows, a JSON list of ids, and a manifest.

All three are written beside and renamed; the manifest goes before the first rename and comes after the last. It
carries what the pair was made from and each file's checksum: a pair without one is torn, and written again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np

from ingest.core.errors import ExportError
from ingest.runtime.atomic_files import atomic_write, reason, storage_errors, sync_folder
from ingest.runtime.parallel import batched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.store.base import EmbeddingStore

ALTERED = "is not the file its manifest was written for"
"""A fault that only reading a whole file finds: a run, which goes by sizes, may leave such a file as it is."""
_BLOCK = 4096  # rows looked up and written at a time


class RowSource(Protocol):
    """The rows that an export should have: `store.wanted.Wanted`, or `export_files.Carried`."""

    @property
    def content(self) -> str:
        """64 hex digits over the pairs."""

    def pairs(self) -> Iterator[tuple[str, bytes]]:
        """Yield every (product id, 32-byte key of its picture), in catalog order."""


@dataclass(frozen=True, slots=True)
class FileChecksum:
    """A file's size in bytes and its SHA-256 in hex, as `sha256sum` prints it."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What exported files are: `rows` unit vectors of `dim` float32 in the space `fingerprint`.

    `content` is the digest of the wanted list they were written from; `files` has a `FileChecksum` for each by name.
    """

    rows: int
    dim: int
    fingerprint: str
    content: str
    files: dict[str, FileChecksum]

    def holds_for(self, content: str, fingerprint: str, *paths: Path) -> bool:
        """Tell whether `paths` are there, of the noted sizes, and from this content in this space."""
        return (
            (self.content, self.fingerprint) == (content, fingerprint)
            and set(self.files) == {path.name for path in paths}
            and all(path.is_file() and path.stat().st_size == self.files[path.name].bytes for path in paths)
        )


def manifest_path(path: Path) -> Path:
    """Return where the manifest of an exported file lies: beside it, `<name>.manifest.json`."""
    return path.with_name(f"{path.stem}.manifest.json")


def read_manifest(path: Path) -> Manifest | None:
    """Read a manifest; None where there is none or it is torn, so that the files are written again."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(**{**table, "files": {name: FileChecksum(**entry) for name, entry in table["files"].items()}})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest whole or not at all."""
    with atomic_write(path) as file:
        file.write(json.dumps(asdict(manifest), indent=2).encode() + b"\n")


def forget_manifest(path: Path) -> None:
    """Remove the manifest of a file about to be replaced: killed before its neighbours are, it must not vouch for them.

    Their sizes may be what it says, as when two products change places.
    """
    manifest = manifest_path(path)
    with storage_errors(manifest):
        manifest.unlink(missing_ok=True)
        sync_folder(manifest.parent)


def write(
    npy: Path, ids: Path, wanted: RowSource, store: EmbeddingStore, fingerprint: str,
    check: Callable[[], None] | None = None, *,
    rewrite: bool = False,
) -> Manifest:  # fmt: skip
    """Write `npy`, (n, dim) float32 in catalog order, `ids`, a JSON list of product ids in row order, and the manifest.

    A product whose vector the store lacks (its picture could not be decoded) has no row. Files that are there and
    were made from the same are left as they are, unless told to `rewrite` them. Memory is one block. `check` is called
    before files are replaced, and may raise.
    Raises StorageError where the disk is full; the files that were there stay.
    """
    there = read_manifest(manifest_path(npy))
    content, rows = _contents(wanted, store)
    if there is not None and there.holds_for(content, fingerprint, npy, ids) and not rewrite:
        return there
    if check is not None:
        check()
    # The header stands first and names the rows: as many as the store holds, unless it finds some of them damaged.
    try:
        files = _write(npy, ids, wanted, store, rows)
    except _OtherRowsError as found:
        rows = found.rows
        files = _write(npy, ids, wanted, store, rows)
    manifest = Manifest(rows, store.dim, fingerprint, content, files)
    write_manifest(manifest_path(npy), manifest)
    return manifest


class _OtherRowsError(Exception):
    """There are `rows` rows, and not as many as the header says."""

    def __init__(self, rows: int) -> None:
        super().__init__(rows)
        self.rows = rows


def _write(npy: Path, ids: Path, wanted: RowSource, store: EmbeddingStore, rows: int) -> dict[str, FileChecksum]:
    """Write the pair, which must have so many rows; nothing is replaced where it has not."""
    written = 0
    with atomic_write(npy) as array_file, atomic_write(ids) as ids_file:
        array, listing = ChecksumWriter(array_file, npy), ChecksumWriter(ids_file, ids)
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, store.dim)}
        np.lib.format.write_array_header_1_0(array, header)  # all it needs is write()
        separator = "\n"
        listing.write(b"[")
        for names, vectors in _blocks(wanted, store):
            written += len(names)
            array.write(vectors.astype("<f4", copy=False).tobytes())
            listing.write((separator + ",\n".join(json.dumps(name, ensure_ascii=False) for name in names)).encode())
            separator = ",\n"
        listing.write(b"\n]\n")
        if written != rows:
            raise _OtherRowsError(written)
        forget_manifest(npy)
    return {npy.name: array.sum(), ids.name: listing.sum()}


def contents(wanted: RowSource, store: EmbeddingStore) -> str:
    """Return 64 hex digits over what is wanted and which of it the store holds: more vectors make other files."""
    return _contents(wanted, store)[0]


def _contents(wanted: RowSource, store: EmbeddingStore) -> tuple[str, int]:
    """Return that digest, and how many of the wanted the store holds."""
    digest, rows = hashlib.sha256(wanted.content.encode()), 0
    for block in batched(wanted.pairs(), _BLOCK):
        held = store.holds([key for _, key in block])
        digest.update(bytes(held))
        rows += sum(held)
    return digest.hexdigest(), rows


def _blocks(wanted: RowSource, store: EmbeddingStore) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    for block in batched(wanted.pairs(), _BLOCK):
        sound, vectors = store.take([key for _, key in block])
        if len(vectors):
            yield list(compress((product_id for product_id, _ in block), sound.tolist())), vectors


def faults(npy: Path, ids: Path, made_from: tuple[str, str] | None) -> list[tuple[Path, str]]:
    """Return what is wrong with an exported pair, by file; it must be `made_from` this content and space, if given."""
    manifest = read_manifest(manifest_path(npy))
    found = checksum_faults(manifest, manifest_path(npy), npy, ids)
    if found or manifest is None:
        return found
    if made_from is not None and (manifest.content, manifest.fingerprint) != made_from:
        return [(npy, "was written from another catalog or model")]
    try:
        rows, names = read(npy, ids)
    except ExportError as error:
        return [(npy, str(error).partition("; ")[0])]
    if rows.shape != (manifest.rows, manifest.dim) or len(set(names)) != len(names):
        return [(npy, f"has shape {rows.shape}, its manifest says ({manifest.rows}, {manifest.dim})")]
    return []


def checksum_faults(manifest: Manifest | None, place: Path, *paths: Path) -> list[tuple[Path, str]]:
    """Return the files that are not what their manifest says, by size and SHA-256."""
    if manifest is None:
        return [(place, "is not there or torn")]
    found = []
    for path in paths:
        said = manifest.files.get(path.name)
        if not path.is_file():
            found.append((path, "is not there"))
        elif said is None or path.stat().st_size != said.bytes or _sha256(path) != said.sha256:
            found.append((path, ALTERED))
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(npy: Path, ids: Path) -> tuple[NDArray[np.float32], list[str]]:
    """Open a pair: the rows as a memory map, (n, dim) float32, and their product ids.

    Raises ExportError where one is missing, torn, or does not fit the other.
    """
    try:
        rows = np.lib.format.open_memmap(npy, mode="r")  # np.load would take a .npz, and pickles, too
    except (OSError, ValueError, EOFError) as error:
        raise ExportError(f"{npy}: cannot be read ({reason(error)}); write it with: ingest export") from error
    names = read_ids(ids)
    if rows.ndim != 2 or rows.dtype != np.float32 or len(rows) != len(names):
        raise ExportError(
            f"{npy}: {rows.dtype} rows of shape {rows.shape} do not fit the {len(names)} ids of {ids}; "
            "write both again with: ingest export"
        )
    return rows, names


def read_ids(path: Path) -> list[str]:
    """Read a JSON list of product ids; raises ExportError where it is not one."""
    try:
        names: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: cannot be read ({reason(error)}); write it with: ingest export") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ExportError(f"{path}: not a JSON list of product ids; write it with: ingest export")
    return names


class ChecksumWriter:
    """Writes to the file that becomes `path`, and counts and sums up what it wrote."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._digest = hashlib.sha256()
        self._bytes = 0

    def write(self, data: bytes) -> int:
        """Write `data` and add it to the sum; raises StorageError with the path where the disk is full."""
        self._digest.update(data)
        self._bytes += len(data)
        with storage_errors(self._path):
            return self._file.write(data)

    def sum(self) -> FileChecksum:
        """Return size and SHA-256 of all that was written."""
        return FileChecksum(self._bytes, self._digest.hexdigest())
