"""The vectors as files for other programs: a `.npy` of unit rows, a JSON list of product ids, and a manifest.

A Parquet file of the same rows, if wanted, is written in the same pass.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

import numpy as np

from ingest.core.errors import ExportError
from ingest.exports.manifest import (
    ChecksumWriter,
    FileChecksum,
    Manifest,
    checksum_faults,
    file_sha256,
    manifest_path,
    read_manifest,
    remove_manifest,
    write_manifest,
)
from ingest.exports.parquet_file import ParquetTable
from ingest.runtime.atomic_files import atomic_write, reason, storage_errors
from ingest.runtime.parallel import batched
from ingest.sync.high_water import HighWater

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from ingest.exports.parquet_file import ParquetExport
    from ingest.store.base import EmbeddingStore

_BLOCK = 4096  # rows looked up and written at a time


class RowSource(Protocol):
    """The rows that an export should have: `ExportRows`, or `export_files.Carried`."""

    @property
    def content(self) -> str:
        """64 hex digits over the pairs."""

    def pairs(self) -> Iterator[tuple[str, bytes]]:
        """Yield every (product id, 32-byte key of its image), in catalog order."""


def write(
    npy: Path, ids: Path, source: RowSource, store: EmbeddingStore, fingerprint: str,
    check: Callable[[], None] | None = None, repair: Callable[[list[bytes]], None] | None = None, *,
    parquet: ParquetExport | None = None, rewrite: bool = False, forgets: bool = False,
) -> Manifest:  # fmt: skip
    """Write `npy`, (n, dim) float32 in catalog order, `ids`, a JSON list of product ids in row order, and the manifest.

    The `parquet` file, if given, has the same rows, and is renamed together with the pair. A product whose vector the
    store lacks, because its image could not be decoded, has no row. Files that were made from the same are left alone
    unless `rewrite` is set. Memory is one block. `check` is called before the pair is replaced, and may raise. If the
    store has damaged vectors, `repair` is called once with their keys, and what it does not replace has no row. The
    manifest has how many rows the last exports had, unless it `forgets` them.
    Raises StorageError if the disk is full; the existing files stay.
    """
    content, rows = _content(source, store)
    existing = read_manifest(npy)
    keeps = existing is not None and existing.matches(content, fingerprint, npy, ids) and not rewrite
    if parquet is not None and parquet.is_current(content, fingerprint) and not rewrite:
        parquet = None
    if existing is not None and keeps and parquet is None:
        return existing
    if check is not None and not keeps:
        check()
    pair = None if keeps else (npy, ids)
    try:
        written = _write(pair, parquet, source, store, rows, partial=repair is None)
    except _DamagedVectorsError as found:
        assert repair is not None
        repair(found.keys)
        written = _write(pair, parquet, source, store, rows, partial=True)
    if parquet is not None:
        made = parquet.manifest(written.rows, written.content, fingerprint, written.files.pop(parquet.path.name))
        write_manifest(parquet.path, made)
    if existing is not None and keeps:
        return existing
    last = HighWater.of(existing.high_water or [existing.rows]) if existing else HighWater()
    figures = last.add(written.rows, written.rows, is_allowed=forgets).figures
    high_water = list(figures) if len(figures) > 1 else []
    manifest = Manifest(written.rows, store.dim, fingerprint, written.content, written.files, high_water)
    write_manifest(npy, manifest)
    return manifest


class _DamagedVectorsError(Exception):
    """The store has keys whose vectors are damaged."""

    def __init__(self, keys: list[bytes]) -> None:
        super().__init__(keys)
        self.keys = keys


class _Written(NamedTuple):
    """What was written, not what was asked for: `content` is the digest of the rows, `files` the checksums by name."""

    rows: int
    content: str
    files: dict[str, FileChecksum]


def _write(
    pair: tuple[Path, Path] | None, parquet: ParquetExport | None, source: RowSource, store: EmbeddingStore,
    expected: int, *, partial: bool,
) -> _Written:  # fmt: skip
    """Write the files, and rename all of them at the end.

    There are `expected` rows unless the store finds damaged vectors; raises their keys unless the files may be
    `partial`.
    """
    rows, content, damaged = 0, hashlib.sha256(source.content.encode()), list[bytes]()
    with ExitStack() as stack:
        pair_out = _Pair(stack, *pair, expected, store.dim) if pair else None
        table = ParquetTable(stack, parquet) if parquet else None
        outputs = [output for output in (pair_out, table) if output is not None]
        for block in batched(source.pairs(), _BLOCK):
            keys = [key for _, key in block]
            sound, vectors = store.take(keys)
            is_sound = sound.tolist()
            content.update(bytes(is_sound))
            if len(vectors) < len(block):
                missing = [key for key, good in zip(keys, is_sound, strict=True) if not good]
                damaged += compress(missing, store.holds(missing))
            if not len(vectors):
                continue
            names = list(compress((product_id for product_id, _ in block), is_sound))
            rows += len(names)
            for output in outputs:
                output.add(names, vectors)
        files = {} if pair_out is None else pair_out.finish(rows)
        if parquet is not None and table is not None:
            files[parquet.path.name] = table.finish()
        if damaged and not partial:
            raise _DamagedVectorsError(damaged)
        for path in ([pair[0]] if pair else []) + ([parquet.path] if parquet else []):
            remove_manifest(path)
    return _Written(rows, content.hexdigest(), files)


class _Pair:
    """The `.npy` and the ids while they are written; they get their names when the `stack` is closed without an error.

    The header says `expected` rows until `finish`.
    """

    def __init__(self, stack: ExitStack, npy: Path, ids: Path, expected: int, dim: int) -> None:
        self._npy, self._ids, self._expected, self._dim = npy, ids, expected, dim
        self._file = stack.enter_context(atomic_write(npy))
        self._vectors_out = ChecksumWriter(self._file, npy)
        self._ids_out = ChecksumWriter(stack.enter_context(atomic_write(ids)), ids)
        _write_header(self._vectors_out, expected, dim)
        self._ids_out.write(b"[")
        self._separator = "\n"

    def add(self, names: list[str], vectors: NDArray[np.float32]) -> None:
        """Append rows: product ids, and their vectors, (n, dim) float32."""
        self._vectors_out.write(vectors.astype("<f4", copy=False).tobytes())
        listed = ",\n".join(json.dumps(name, ensure_ascii=False) for name in names)
        self._ids_out.write((self._separator + listed).encode())
        self._separator = ",\n"

    def finish(self, rows: int) -> dict[str, FileChecksum]:
        """Complete the files, which have so many rows, and return their checksums by name."""
        self._ids_out.write(b"\n]\n")
        is_right = rows == self._expected
        vectors = self._vectors_out.checksum() if is_right else _correct_header(self._file, self._npy, rows, self._dim)
        return {self._npy.name: vectors, self._ids.name: self._ids_out.checksum()}


def _write_header(file: Any, rows: int, dim: int) -> None:
    """Write the header of a `.npy`, whose length does not depend on the number of rows: numpy pads it."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(file, header)  # all it needs is write()


def _correct_header(file: BinaryIO, path: Path, rows: int, dim: int) -> FileChecksum:
    """Put another number of rows into the header of the file that will be renamed to `path`, and hash it again."""
    with storage_errors(path):
        file.seek(0)
        _write_header(file, rows, dim)
        file.flush()
        unfinished = Path(file.name)
        return FileChecksum(unfinished.stat().st_size, file_sha256(unfinished))


def content_digest(source: RowSource, store: EmbeddingStore) -> str:
    """Return 64 hex digits over the wanted rows and which of them the store holds: more vectors make other files."""
    return _content(source, store)[0]


def _content(source: RowSource, store: EmbeddingStore) -> tuple[str, int]:
    """Return that digest, and how many of the wanted rows the store holds."""
    digest, rows = hashlib.sha256(source.content.encode()), 0
    for block in batched(source.pairs(), _BLOCK):
        held = store.holds([key for _, key in block])
        digest.update(bytes(held))
        rows += sum(held)
    return digest.hexdigest(), rows


def faults(npy: Path, ids: Path, made_from: tuple[str, str] | None) -> list[tuple[Path, str]]:
    """Return what is wrong with an exported pair, by file.

    `made_from`, if given, is the content digest and the space fingerprint that the pair must have.
    """
    manifest = read_manifest(npy)
    if manifest is None:
        return [(manifest_path(npy), "is missing or damaged")]
    if found := checksum_faults(manifest, npy, ids):
        return found
    if made_from is not None and (manifest.content, manifest.fingerprint) != made_from:
        return [(npy, "was written from another catalog or model")]
    return _content_faults(npy, ids, (manifest.rows, manifest.dim))


def _content_faults(npy: Path, ids: Path, shape: tuple[int, int]) -> list[tuple[Path, str]]:
    try:
        rows, names = read(npy, ids)
    except ExportError as error:
        return [(npy, str(error).partition("; ")[0])]
    if rows.shape != shape:
        return [(npy, f"has shape {rows.shape}, its manifest says {shape}")]
    if len(set(names)) != len(names):
        return [(ids, "has a product id twice")]
    return []


def read(npy: Path, ids: Path) -> tuple[NDArray[np.float32], list[str]]:
    """Open a pair: the rows as a memory map, (n, dim) float32, and their product ids.

    Raises ExportError if a file is missing or damaged, or the two do not match.
    """
    try:
        rows = np.lib.format.open_memmap(npy, mode="r")  # np.load would also take a .npz, and pickles
    except (OSError, ValueError, EOFError) as error:
        raise ExportError(f"{npy}: cannot be read ({reason(error)}); write it with: ingest export") from error
    names = read_ids(ids)
    if rows.ndim != 2 or rows.dtype != np.float32 or len(rows) != len(names):
        raise ExportError(
            f"{npy}: {rows.dtype} rows of shape {rows.shape} do not match the {len(names)} ids of {ids}; "
            "write both again with: ingest export"
        )
    return rows, names


def read_ids(path: Path) -> list[str]:
    """Read a JSON list of product ids; raises ExportError if it is not one."""
    try:
        names: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: cannot be read ({reason(error)}); write it with: ingest export") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ExportError(f"{path}: not a JSON list of product ids; write it with: ingest export")
    return names
