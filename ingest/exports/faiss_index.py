"""FAISS files for services that search without Milvus: an HNSW index, inner product, over the exported `.npy`."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.errors import ExportError
from ingest.exports import npy_files
from ingest.exports.manifest import (
    ChecksumWriter,
    Manifest,
    checksum_faults,
    manifest_path,
    read_manifest,
    remove_manifest,
    write_manifest,
)
from ingest.runtime.atomic_files import atomic_write, storage_errors, sync_folder
from ingest.runtime.openmp import import_faiss
from ingest.store.base import UNIT_TOLERANCE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.core.contract import HnswIndex
    from ingest.exports.manifest import FileChecksum

_BLOCK = 16_384  # rows read and added at a time; reading through the memory map would leave all of them in memory


@dataclass(frozen=True, slots=True)
class IndexFiles:
    """The paths of one index: the index itself, its metadata, and its product ids in row order."""

    index: Path
    metadata: Path
    product_ids: Path

    @classmethod
    def of(cls, folder: Path, dim: int) -> IndexFiles:
        """Return the paths in `folder` for vectors of `dim`."""
        stem = f"hnsw_clip_{dim}"
        return cls(folder / f"{stem}.faiss", folder / f"{stem}.pkl", folder / f"{stem}_product_ids.json")

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        """All three."""
        return self.index, self.metadata, self.product_ids


def build(npy: Path, ids: Path, folder: Path, parameters: HnswIndex, *, rewrite: bool = False) -> Manifest:
    """Build the index over an exported pair and write its files, unless they already match the pair.

    With `rewrite` they are always written.
    The `.pkl` is a pickled dict of plain types, for programs that expect one; this tool never loads it.
    Without rows there is no index: an existing one is deleted, and the manifest names no files.
    Raises ExportError if the pair is missing or damaged or a row is not of unit length, StorageError if the disk is
    full.
    """
    rows, names = npy_files.read(npy, ids)
    dim = int(rows.shape[1])
    source = read_manifest(npy)
    fingerprint = source.fingerprint if source else ""
    content = f"{_content(source, npy, ids)} M={parameters.m} efConstruction={parameters.ef_construction}"
    files = IndexFiles.of(folder, dim)
    if not names:
        _remove(files)
        return Manifest(0, dim, fingerprint, content, {})
    existing = read_manifest(files.index)
    if existing is not None and existing.matches(content, fingerprint, *files.paths) and not rewrite:
        return existing
    graph = _graph(npy, rows, names, parameters)
    manifest = Manifest(len(names), dim, fingerprint, content, _write(files, graph, names, parameters, fingerprint))
    write_manifest(files.index, manifest)
    return manifest


def _write(
    files: IndexFiles, graph: Any, names: list[str], parameters: HnswIndex, fingerprint: str
) -> dict[str, FileChecksum]:
    """Write the three files, and return their checksums by name."""
    with atomic_write(files.index) as file:
        out = ChecksumWriter(file, files.index)
        import_faiss().write_index(graph, import_faiss().PyCallbackIOWriter(out.write))
        checksums = {files.index.name: out.checksum()}
        remove_manifest(files.index)
    metadata = {
        "index_type": "HNSW",
        "metric": "inner_product",
        "normalised": True,
        "dim": graph.d,
        "count": len(names),
        "M": parameters.m,
        "efConstruction": parameters.ef_construction,
        "efSearch": parameters.ef,
        "space": fingerprint,
        "faiss_version": str(import_faiss().__version__),
        "sha256": checksums[files.index.name].sha256,
    }
    for path, payload in (
        (files.metadata, pickle.dumps(metadata, protocol=4)),
        (files.product_ids, json.dumps(names, ensure_ascii=False, indent=0).encode() + b"\n"),
    ):
        with atomic_write(path) as file:
            out = ChecksumWriter(file, path)
            out.write(payload)
            checksums[path.name] = out.checksum()
    return checksums


class FaissIndex:
    """An index in memory; `names` is the product ids in row order, `known` the same ids as a set."""

    def __init__(self, index: Any, names: list[str]) -> None:
        self._index = index
        self.names = names
        self.known = frozenset(names)

    @property
    def size(self) -> int:
        """How many vectors it holds."""
        return int(self._index.ntotal)

    @cached_property
    def rows(self) -> NDArray[np.float32]:
        """The vectors it holds, (n, dim) float32: a view of its memory, not to be written to."""
        index, faiss = self._index, import_faiss()
        storage = faiss.downcast_index(index.storage)
        flat: NDArray[np.float32] = faiss.rev_swig_ptr(storage.get_xb(), index.ntotal * index.d)
        return flat.reshape(index.ntotal, index.d)

    def nearest(
        self, queries: NDArray[np.float32], limit: int, ef: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return scores and row numbers, (n, limit) each, best first, filled up with row -1; on all cores."""
        self._index.hnsw.efSearch = max(ef, limit)
        found: tuple[NDArray[np.float32], NDArray[np.int64]] = self._index.search(queries, limit)
        return found

    def search(self, query: NDArray[np.float32], limit: int, ef: int) -> list[tuple[str, float]]:
        """Return the `limit` nearest (product id, inner product), best first, for a unit vector, (dim,) float32."""
        scores, rows = self.nearest(query.reshape(1, -1), min(limit, self._index.ntotal) or 1, max(ef, limit))
        return [(self.names[row], float(score)) for score, row in zip(scores[0], rows[0], strict=True) if row >= 0]


def open_index(folder: Path, dim: int) -> FaissIndex:
    """Load the files in `folder` for vectors of `dim`.

    The ids must have the SHA-256 that the manifest notes; the index, which may have gigabytes, its size. The pickled
    metadata is not read.
    Raises ExportError if files are missing or do not match one another.
    """
    faiss = import_faiss()
    files = IndexFiles.of(folder, dim)
    names = npy_files.read_ids(files.product_ids)
    if not files.index.is_file():
        raise ExportError(f"{files.index}: is missing; write it with: ingest export")
    manifest = read_manifest(files.index)
    if manifest is None or not manifest.matches_sizes(*files.paths):
        raise ExportError(f"{files.index}: does not match the files beside it; write them again with: ingest export")
    for path, fault in checksum_faults(manifest, files.product_ids):
        raise ExportError(f"{path}: {fault}; write it again with: ingest verify --repair")
    try:
        index = faiss.read_index(str(files.index))
    except (RuntimeError, MemoryError) as error:
        raise ExportError(f"{files.index}: not a FAISS index; write it again with: ingest export") from error
    if index.ntotal != len(names):
        raise ExportError(
            f"{files.index}: {index.ntotal} vectors, but {len(names)} ids; write both with: ingest export"
        )
    return FaissIndex(index, names)


def search(folder: Path, query: NDArray[np.float32], limit: int, ef: int) -> list[tuple[str, float]]:
    """Search the files in `folder` as `FaissIndex.search` does; raises ExportError as `open_index` does."""
    return open_index(folder, len(query)).search(query, limit, ef)


def faults(folder: Path, dim: int, npy: Path) -> list[tuple[Path, str]]:
    """Return what is wrong with the files, by file: checksums, and whether they were built from this `.npy`.

    A `.npy` without rows has no index, so nothing is wrong then.
    """
    files = IndexFiles.of(folder, dim)
    source = read_manifest(npy)
    if source is not None and not source.rows and not files.index.exists():
        return []
    manifest = read_manifest(files.index)
    if manifest is None:
        return [(manifest_path(files.index), "is missing or damaged")]
    if found := checksum_faults(manifest, *files.paths):
        return found
    if source is None or source.files[npy.name].sha256 not in manifest.content:
        return [(files.index, f"was built from another {npy.name}")]
    return []


def _remove(files: IndexFiles) -> None:
    """Delete an index, its manifest first, so that a kill halfway leaves none that looks complete."""
    folder = files.index.parent
    if not folder.is_dir():
        return
    remove_manifest(files.index)
    with storage_errors(files.index):
        for path in files.paths:
            path.unlink(missing_ok=True)
        sync_folder(folder)


def _graph(npy: Path, rows: NDArray[np.float32], names: list[str], parameters: HnswIndex) -> Any:
    faiss = import_faiss()
    graph = faiss.IndexHNSWFlat(int(rows.shape[1]), parameters.m, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = parameters.ef_construction
    graph.hnsw.efSearch = parameters.ef
    # Reserve room for all rows at once: what grows by doubling exists twice while it is copied. Needed are the vectors,
    # and per row 2 M neighbours in the lowest layer and M / (M - 1), at most 2, in those above (Malkov and Yashunin,
    # arXiv:1603.09320, 4.1).
    for growing, size in (
        (faiss.downcast_index(graph.storage).codes, rows.nbytes),
        (graph.hnsw.neighbors, len(rows) * (2 * parameters.m + 2)),
    ):
        growing.resize(size)
        growing.resize(0)
    for start in range(0, len(rows), _BLOCK):
        block = _read_rows(npy, rows, start)
        _check_lengths(npy, block, start, names)
        graph.add(block)
    return graph


def _read_rows(npy: Path, rows: NDArray[np.float32], start: int) -> NDArray[np.float32]:
    """Read the next rows of the file that is mapped as `rows`."""
    assert isinstance(rows, np.memmap)
    count, dim = min(_BLOCK, len(rows) - start), rows.shape[1]
    return np.fromfile(npy, np.float32, count * dim, offset=rows.offset + start * dim * rows.itemsize).reshape(-1, dim)


def _check_lengths(npy: Path, block: NDArray[np.float32], start: int, names: list[str]) -> None:
    """Raise ExportError for a row that is not of unit length."""
    with np.errstate(all="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
        sound = np.abs(lengths - 1) <= UNIT_TOLERANCE  # false for NaN
    if not sound.all():
        bad = int(np.argmin(sound))
        raise ExportError(
            f"{npy}: row {start + bad}, product {names[start + bad]!r}, has length {lengths[bad]:.4g} and not 1; "
            "write it with: ingest export"
        )


def _content(source: Manifest | None, npy: Path, ids: Path) -> str:
    """Identify the pair by its checksums, or by size and time if another program wrote it."""
    if source is not None and source.matches_sizes(npy, ids):
        return " ".join(source.files[path.name].sha256 for path in (npy, ids))
    with storage_errors(npy):
        return " ".join(f"{path.stat().st_size}-{path.stat().st_mtime_ns}" for path in (npy, ids))
