"""Milvus Lite's index files, which it (3.2.2) writes in place: a process killed meanwhile leaves one it cannot load."""

from __future__ import annotations

from pathlib import Path

from ingest.openmp import import_faiss

_FILES = "collections/{}/partitions/*/indexes/*.hnsw.idx"


def without_torn_indexes(database: str, name: str) -> int:
    """Remove the index files of a collection that cannot be read, and return how many.

    `database` is the Lite "file", a folder. Loading the collection makes them anew from its rows, which Lite keeps
    apart, in files that it never changes.
    """
    files = list(Path(database).expanduser().glob(_FILES.format(name)))
    torn = [path for path in files if not _is_readable(path)]
    for path in torn:
        path.unlink()
    return len(torn)


def _is_readable(path: Path) -> bool:
    try:
        import_faiss().read_index(str(path))
    except RuntimeError:
        return False
    return True
