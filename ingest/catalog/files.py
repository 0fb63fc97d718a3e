"""Which files a catalog is: one, those of a folder, or those that a glob matches, on a disk or behind a URL."""

from __future__ import annotations

import glob
import os
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar, NamedTuple, Protocol, cast

from ingest.core.errors import CatalogError
from ingest.runtime import parallel
from ingest.runtime.remote_files import is_remote

if TYPE_CHECKING:
    import io
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")

_TEXTS = (*DELIMITERS, *JSON_LINES)
_ENDINGS = (*_TEXTS, *(f"{text}.gz" for text in _TEXTS), *PARQUET)
_HIDDEN = ("_", ".")  # what Spark and Hadoop put beside the parts: _SUCCESS, _temporary, .part-0.crc
_AT_ONCE = 8  # small files of a storage, where each costs the time of a round trip


class FileEntry(NamedTuple):
    """What a folder holds by one name. `size` is in bytes."""

    name: str
    is_folder: bool
    size: int


class CatalogFile(Protocol):
    """One file of a catalog; as text, its whole path or URL, for messages."""

    @property
    def name(self) -> str:
        """Its path below the catalog's folder, with slashes."""

    @property
    def is_local(self) -> bool:
        """Whether reading it through costs little."""

    def held(self) -> CatalogFile:
        """Return the file with its content in memory, where it is small and that saves time; else the file itself."""

    def streamed(self) -> AbstractContextManager[io.BufferedReader]:
        """Open it for a reader that goes from its start to its end."""

    def seekable(self) -> AbstractContextManager[BinaryIO]:
        """Open it for a reader that jumps."""


class FileTree(Protocol):
    """Folders and files by their paths, on a disk or in a storage; what it cannot say is a CatalogError."""

    def entry(self, path: str) -> FileEntry | None:
        """Return what is there, None where nothing is."""

    def entries(self, folder: str) -> list[FileEntry]:
        """Return all that is directly in a folder, in any order."""

    def file(self, path: str, name: str, size: int) -> CatalogFile:
        """Return the file that is there under the name that its catalog gives it."""


def list_files(catalog: Path | str) -> list[CatalogFile]:
    """Return a catalog's files, ordered by name and all of one kind; a string is a URL.

    A folder stands for the files directly in it. Of a glob's `**` any number of folders is matched. Names that begin
    with `_` or `.` are none of a catalog's in either. Raises CatalogError where there is no file, and for what may be
    a part of the catalog but would not be read; StorageError where a storage does not answer.
    """
    if isinstance(catalog, str):
        from ingest.catalog.remote import RemoteTree

        remote = RemoteTree(catalog)
        tree, path = cast("FileTree", remote), remote.root
    else:
        is_remote(str(catalog), "--catalog")  # a path that once was a URL has lost a slash
        tree, path = _Disk(), catalog.as_posix()
    there = tree.entry(path)
    if there and not there.is_folder:
        found = [tree.file(path, there.name, there.size)]
    elif there or glob.has_magic(path):
        folder, pattern = (path, ("*",)) if there else _split(path)
        matched = sorted(_matching(tree, folder, "", {pattern}))
        found = [tree.file(_joined(folder, name), name, size) for name, size in matched]
    else:
        raise CatalogError(f"{catalog}: no such file or folder; pass the catalog's path")
    if not found:
        what = "holds no files" if there else "matches no files"
        raise CatalogError(f"{catalog}: {what}, but for any that begin with _ or .; pass the catalog's path")
    _check_kinds(catalog, found)
    return found


def kind_of(file: CatalogFile) -> str:
    """Return the ending that tells the format, such as `.csv` or `.jsonl.gz`."""
    kind = _ending(file.name)
    if not kind:
        known = ", ".join((*_TEXTS, *PARQUET))
        raise CatalogError(f"{file}: unknown ending; a catalog ends in {known} (text also with .gz)")
    return kind


def folder_of(catalog: Path | str) -> Path | None:
    """Return the folder that relative paths in a catalog start from, None where that is on no disk.

    Of a glob it is the one before the first name with a wildcard.
    """
    if isinstance(catalog, str):
        return None
    if os.path.isdir(catalog):  # noqa: PTH112  false also for what no path can be
        return catalog
    if glob.has_magic(str(catalog)) and not os.path.lexists(catalog):
        return Path(_split(catalog.as_posix())[0])
    return catalog.parent


def prefetch_files(files: Iterable[CatalogFile]) -> Generator[CatalogFile, None, None]:
    """Yield files in order; small ones of a storage come whole, several got at once."""
    with closing(parallel.parallel_map(_held, files, workers=_AT_ONCE, ahead=_AT_ONCE, here=_is_local)) as held:
        yield from held


def _held(file: CatalogFile) -> CatalogFile:
    return file.held()


def _is_local(file: CatalogFile) -> bool:
    return file.is_local


@dataclass(frozen=True, slots=True)
class _LocalFile:
    """A file on a disk."""

    path: Path
    name: str
    is_local: ClassVar[bool] = True

    def __str__(self) -> str:
        return str(self.path)

    def held(self) -> CatalogFile:
        return self

    def streamed(self) -> io.BufferedReader:
        return self.path.open("rb")

    seekable = streamed


class _Disk:
    """The files of this machine."""

    def entry(self, path: str) -> FileEntry | None:
        # These are false, and raise nothing, for what no path can be.
        if not os.path.exists(path):  # noqa: PTH110
            return None
        return FileEntry(os.path.basename(path), os.path.isdir(path), 0)  # noqa: PTH112, PTH119

    def entries(self, folder: str) -> list[FileEntry]:
        try:
            with os.scandir(folder or ".") as entries:
                return [FileEntry(entry.name, entry.is_dir(), 0) for entry in entries]
        except OSError as error:
            raise CatalogError(f"{folder or '.'}: cannot be listed: {error.strerror}") from error

    def file(self, path: str, name: str, _size: int) -> CatalogFile:
        return _LocalFile(Path(path), name)


def _split(path: str) -> tuple[str, tuple[str, ...]]:
    """Return a glob's folder without wildcards, and what follows it, name by name."""
    names = path.split("/")
    first = next(at for at, name in enumerate(names) if glob.has_magic(name))
    return "/".join(names[:first]) or "/"[: path.startswith("/")], tuple(filter(None, names[first:]))


def _joined(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name


def _matching(tree: FileTree, folder: str, below: str, patterns: set[tuple[str, ...]]) -> Iterator[tuple[str, int]]:
    """Yield the names below `folder`, and the sizes, of files that one of the patterns matches, in any order.

    `glob` and fsspec leave out a folder that cannot be listed; here it is an error, for what is missing in a catalog
    may be deleted from the collection.
    """
    patterns = patterns | {pattern[1:] or ("*",) for pattern in patterns if pattern[0] == "**"}
    last = {pattern[0] for pattern in patterns if len(pattern) == 1} - {"**"}
    for entry in sorted(tree.entries(_joined(folder, below) if below else folder)):
        if entry.name.startswith(_HIDDEN):
            continue
        name = f"{below}{entry.name}"
        is_last = any(fnmatchcase(entry.name, pattern) for pattern in last)
        if not entry.is_folder:
            if is_last:
                yield name, entry.size
            continue
        deeper = {pattern for pattern in patterns if pattern[0] == "**"} | {
            pattern[1:] for pattern in patterns if len(pattern) > 1 and fnmatchcase(entry.name, pattern[0])
        }
        if deeper:
            yield from _matching(tree, folder, f"{name}/", deeper)
        elif is_last and (_ending(entry.name) or "=" in entry.name):
            raise CatalogError(
                f"{_joined(folder, name)}: is a folder of parts, not a part; name what is in it, too: "
                f"{_joined(folder, '**')}/*{_ending(entry.name) or '.parquet'}"
            )


def _check_kinds(catalog: Path | str, files: Sequence[CatalogFile]) -> None:
    kinds: dict[str, CatalogFile] = {}
    for file in files:
        kinds.setdefault(kind_of(file), file)
    if len(kinds) > 1:
        one, other = list(kinds.values())[:2]
        raise CatalogError(
            f"{catalog}: files of two kinds, {one.name} and {other.name}; name those of one, such as "
            f"{_joined(str(catalog) if not glob.has_magic(str(catalog)) else '…', '*' + kind_of(one))}"
        )


def _ending(name: str) -> str:
    return next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")
