"""Local FAISS files for a service that loads them by itself: HNSW, inner product, over the exported `.npy`."""

from __future__ import annotations

import json
import pickle
import pickletools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.errors import ExportError
from ingest.exports import npy_files
from ingest.runtime.atomic_files import atomic_write, reason, storage_errors, sync_folder
from ingest.runtime.openmp import import_faiss
from ingest.store.base import UNIT_TOLERANCE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.core.contract import HnswIndex
    from ingest.exports.npy_files import Manifest

_BLOCK = 16_384  # rows read and added at a time; through a memory map all of them would come to lie in memory
_PLAIN = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"})
_CONSTANTS = {"NEWTRUE": True, "NEWFALSE": False}
_FRAME = frozenset({"PROTO", "FRAME", "EMPTY_DICT", "MARK", "SETITEMS", "STOP"})


@dataclass(frozen=True, slots=True)
class IndexFiles:
    """The names of one index in `folder`: the index, its metadata, its product ids in row order, its manifest."""

    index: Path
    metadata: Path
    product_ids: Path

    @classmethod
    def of(cls, folder: Path, dim: int) -> IndexFiles:
        """Return the names for vectors of `dim`."""
        stem = f"hnsw_clip_{dim}"
        return cls(folder / f"{stem}.faiss", folder / f"{stem}.pkl", folder / f"{stem}_product_ids.json")


def build(npy: Path, ids: Path, folder: Path, index: HnswIndex, *, rewrite: bool = False) -> Manifest:
    """Build the index over an exported pair and write its files; leave them where they already fit the pair.

    With `rewrite` they are written whether they fit or not.
    The `.pkl` is a pickled dict of plain types, for programs that expect one; nothing of ours ever loads it.
    Over a pair of no rows there is no index: one that lies there is removed, and the manifest names no files.
    Raises ExportError where the pair is missing or torn or a row has not unit length, StorageError where the disk is
    full.
    """
    rows, names = npy_files.read(npy, ids)
    dim = int(rows.shape[1])
    source = npy_files.read_manifest(npy_files.manifest_path(npy))
    fingerprint = source.fingerprint if source else ""
    parameters = f"M={index.m} efConstruction={index.ef_construction}"
    content = f"{_content(source, npy, ids)} {parameters}"
    files = IndexFiles.of(folder, dim)
    there = npy_files.read_manifest(npy_files.manifest_path(files.index))
    paths = (files.index, files.metadata, files.product_ids)
    if not names:
        _remove(files.index, *paths)
        return npy_files.Manifest(0, dim, fingerprint, content, {})
    if there is not None and there.holds_for(content, fingerprint, *paths) and not rewrite:
        return there
    graph = _graph(npy, rows, names, index)
    sums: dict[str, npy_files.FileChecksum] = {}
    with atomic_write(files.index) as file:
        summed = npy_files.ChecksumWriter(file, files.index)
        import_faiss().write_index(graph, import_faiss().PyCallbackIOWriter(summed.write))
        sums[files.index.name] = summed.sum()
        npy_files.forget_manifest(files.index)
    metadata = _metadata(len(names), dim, index, fingerprint, sums[files.index.name])
    for path, payload in (
        (files.metadata, pickle.dumps(metadata, protocol=4)),
        (files.product_ids, json.dumps(names, ensure_ascii=False, indent=0).encode() + b"\n"),
    ):
        with atomic_write(path) as file:
            summed = npy_files.ChecksumWriter(file, path)
            summed.write(payload)
            sums[path.name] = summed.sum()
    manifest = npy_files.Manifest(len(names), dim, fingerprint, content, sums)
    npy_files.write_manifest(npy_files.manifest_path(files.index), manifest)
    return manifest


class FaissIndex:
    """An index in memory; `names` is the product ids in row order, `known` the same as a set."""

    def __init__(self, index: Any, names: list[str]) -> None:
        self._index = index
        self.names = names
        self.known = frozenset(names)

    @cached_property
    def rows(self) -> NDArray[np.float32]:
        """The vectors it holds, (n, dim) float32; a view of its memory, not to be written to."""
        index, faiss = self._index, import_faiss()
        storage = faiss.downcast_index(index.storage)
        flat: NDArray[np.float32] = faiss.rev_swig_ptr(storage.get_xb(), index.ntotal * index.d)
        return flat.reshape(index.ntotal, index.d)

    def nearest(
        self, queries: NDArray[np.float32], limit: int, ef: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return scores and row numbers, (n, limit) each, best first, -1 for want of more; on all cores."""
        self._index.hnsw.efSearch = max(ef, limit)
        found: tuple[NDArray[np.float32], NDArray[np.int64]] = self._index.search(queries, limit)
        return found

    def search(self, query: NDArray[np.float32], limit: int, ef: int) -> list[tuple[str, float]]:
        """Return the `limit` nearest (product id, inner product), best first, for a unit vector, (dim,) float32."""
        index = self._index
        index.hnsw.efSearch = max(ef, limit)
        scores, rows = index.search(query.reshape(1, -1), min(limit, index.ntotal) or 1)
        return [(self.names[row], float(score)) for score, row in zip(scores[0], rows[0], strict=True) if row >= 0]


def open_index(folder: Path, dim: int) -> FaissIndex:
    """Load the files in `folder` for vectors of `dim`.

    Raises ExportError where they are missing or do not fit one another.
    """
    faiss = import_faiss()
    files = IndexFiles.of(folder, dim)
    names = npy_files.read_ids(files.product_ids)
    if not files.index.is_file():
        raise ExportError(f"{files.index}: not there; write it with: ingest export")
    manifest = npy_files.read_manifest(npy_files.manifest_path(files.index))
    paths = (files.index, files.metadata, files.product_ids)
    if manifest is None or not manifest.holds_for(manifest.content, manifest.fingerprint, *paths):
        raise ExportError(f"{files.index}: it and its neighbours do not fit; write them again with: ingest export")
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
    """Return what `FaissIndex.search` does, of the files in `folder`; raises ExportError as `open_index` does."""
    return open_index(folder, len(query)).search(query, limit, ef)


def faults(folder: Path, dim: int, npy: Path) -> list[tuple[Path, str]]:
    """Return what is wrong with the files, by file: checksums, counts, dim, and whether they are of this `.npy`.

    Of a `.npy` without rows there are none.
    """
    files = IndexFiles.of(folder, dim)
    source = npy_files.read_manifest(npy_files.manifest_path(npy))
    if source is not None and not source.rows and not files.index.exists():
        return []
    manifest = npy_files.read_manifest(npy_files.manifest_path(files.index))
    found = npy_files.checksum_faults(
        manifest, npy_files.manifest_path(files.index), files.index, files.metadata, files.product_ids
    )
    if found or manifest is None:
        return found
    if source is None or source.files[npy.name].sha256 not in manifest.content:
        return [(files.index, f"was built from another {npy.name}")]
    try:
        said = _told(files.metadata.read_bytes())
    except (OSError, ValueError) as error:
        return [(files.metadata, f"cannot be read ({reason(error)})")]
    wanted = {"count": manifest.rows, "dim": dim, "sha256": manifest.files[files.index.name].sha256}
    if any(said.get(name) != value for name, value in wanted.items()):
        return [(files.metadata, "tells another count, dim or checksum than the index has")]
    return []


def _told(pickled: bytes) -> dict[Any, Any]:
    """Read a flat dict of plain types off a pickle's opcodes, so that nothing in it can run; ValueError for others."""
    stack: list[Any] = []
    memo: list[Any] = []
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in _PLAIN:
            stack.append(argument)
        elif opcode.name in _CONSTANTS:
            stack.append(_CONSTANTS[opcode.name])
        elif opcode.name == "MEMOIZE":
            memo.append(stack[-1] if stack else None)
        elif opcode.name == "BINGET" and int(argument or 0) < len(memo):
            stack.append(memo[int(argument or 0)])
        elif opcode.name not in _FRAME:
            raise ValueError(f"it has {opcode.name}, and should hold plain types alone")
    return dict(zip(stack[::2], stack[1::2], strict=True))


def _remove(index: Path, *paths: Path) -> None:
    """Remove an index and its neighbours, the manifest first, so that it vouches for none that are half gone."""
    if not index.parent.is_dir():
        return
    npy_files.forget_manifest(index)
    with storage_errors(index):
        for path in paths:
            path.unlink(missing_ok=True)
        sync_folder(index.parent)


def _graph(npy: Path, rows: NDArray[np.float32], names: list[str], parameters: HnswIndex) -> Any:
    faiss = import_faiss()
    graph = faiss.IndexHNSWFlat(int(rows.shape[1]), parameters.m, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = parameters.ef_construction
    graph.hnsw.efSearch = parameters.ef
    # Room for all rows at once, for what grows by doubling is held twice: their numbers, and 2 M neighbours of each in
    # the lowest layer and M / (M - 1), at most 2, in those above (Malkov and Yashunin, arXiv:1603.09320, 4.1).
    for growing, size in (
        (faiss.downcast_index(graph.storage).codes, rows.nbytes),
        (graph.hnsw.neighbors, len(rows) * (2 * parameters.m + 2)),
    ):
        growing.resize(size)
        growing.resize(0)
    for start in range(0, len(rows), _BLOCK):
        block = _read(npy, rows, start)
        with np.errstate(all="ignore"):
            lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
            sound = np.abs(lengths - 1) <= UNIT_TOLERANCE  # NaN is not
        if not sound.all():
            bad = int(np.argmin(sound))
            raise ExportError(
                f"{npy}: row {start + bad}, product {names[start + bad]!r}, has length {lengths[bad]:.4g} and not 1; "
                "write it with: ingest export"
            )
        graph.add(block)
    return graph


def _read(npy: Path, rows: NDArray[np.float32], start: int) -> NDArray[np.float32]:
    """Read the next rows of a file that is mapped as `rows`."""
    assert isinstance(rows, np.memmap)
    count, dim = min(_BLOCK, len(rows) - start), rows.shape[1]
    return np.fromfile(npy, np.float32, count * dim, offset=rows.offset + start * dim * rows.itemsize).reshape(-1, dim)


def _metadata(rows: int, dim: int, index: HnswIndex, fingerprint: str, file: npy_files.FileChecksum) -> dict[str, Any]:
    return {
        "index_type": "HNSW",
        "metric": "inner_product",
        "normalised": True,
        "dim": dim,
        "count": rows,
        "M": index.m,
        "efConstruction": index.ef_construction,
        "efSearch": index.ef,
        "space": fingerprint,
        "faiss_version": str(import_faiss().__version__),
        "sha256": file.sha256,
    }


def _content(source: Manifest | None, npy: Path, ids: Path) -> str:
    """Identify the pair by its own checksums; a pair that another program wrote, by size and time."""
    if source is not None and source.holds_for(source.content, source.fingerprint, npy, ids):
        return " ".join(source.files[path.name].sha256 for path in (npy, ids))
    with storage_errors(npy):
        return " ".join(f"{path.stat().st_size}-{path.stat().st_mtime_ns}" for path in (npy, ids))
