"""Which files a catalog is: one file, those of a folder, or those that a glob matches, on a disk or behind a URL."""

from __future__ import annotations

import glob
import os
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.catalog.formats import find_ending, format_of
from ingest.core.errors import CatalogError
from ingest.runtime import parallel
from ingest.runtime.remote_files import is_remote

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from ingest.catalog.base import CatalogFile, FileEntry, FileTree

_HIDDEN = ("_", ".")  # what Spark and Hadoop put beside the parts: _SUCCESS, _temporary, .part-0.crc
_NAMED = 3  # changes that a message names
_AT_ONCE = 8  # small remote files, each of which costs a round trip


def list_files(catalog: Path | str) -> list[CatalogFile]:
    """Return a catalog's files, sorted by name and all of one format; a string is a URL.

    A folder stands for the files directly in it. In a glob, `**` matches any number of folders. Names that begin with
    `_` or `.` are left out of both. Raises CatalogError if there is no file, or for something that may be a part of the
    catalog but would not be read; StorageError if a storage does not answer.
    """
    tree, path = _open_tree(catalog)
    entry = tree.entry(path)
    if entry and not entry.is_folder:
        found = [tree.file(path, entry.name, entry)]
    elif entry:
        found = _matching_files(tree, path, ("*",))
        if not found:
            raise CatalogError(f"{catalog}: has no files, except any that begin with _ or .; pass the catalog's path")
    elif glob.has_magic(path):
        found = _matching_files(tree, *_split_glob(path))
        if not found:
            raise CatalogError(
                f"{catalog}: matches no files, except any that begin with _ or .; pass the catalog's path"
            )
    else:
        raise CatalogError(f"{catalog}: no such file or folder; pass the catalog's path")
    _check_formats(catalog, found)
    return found


def check_unchanged(catalog: Path | str, before: Sequence[CatalogFile]) -> None:
    """Raise CatalogError if a catalog's files are not those that were listed `before`, and as they were then.

    A mixture of two catalogs may lack products that both have, and a link to a folder may point to another by now.
    """
    versions = {file.name: file.version for file in before}
    now = {file.name: file.version for file in list_files(catalog)}
    if now == versions:
        return
    changes = [f"{name} was added" for name in now.keys() - versions.keys()]
    changes += [f"{name} is gone" for name in versions.keys() - now.keys()]
    changes += [
        f"{name} was written or replaced" for name in now.keys() & versions.keys() if now[name] != versions[name]
    ]
    named = ", ".join(sorted(changes)[:_NAMED]) + (", …" if len(changes) > _NAMED else "")
    which = "" if len(before) == len(now) == 1 else f" ({named})"
    raise CatalogError(f"{catalog}: changed while it was read{which}; run again when it is complete")


def folder_of(catalog: Path | str) -> Path | None:
    """Return the folder that relative image paths start from, or None for a URL.

    For a glob it is the folder before the first name with a wildcard.
    """
    if isinstance(catalog, str):
        return None
    if os.path.isdir(catalog):  # noqa: PTH112  unlike pathlib's, False for a path that cannot exist
        return catalog
    if glob.has_magic(str(catalog)) and not os.path.lexists(catalog):
        return Path(_split_glob(catalog.as_posix())[0])
    return catalog.parent


def prefetch_files(files: Iterable[CatalogFile]) -> Generator[CatalogFile, None, None]:
    """Yield files in order; small remote ones are loaded, several at once."""
    with closing(parallel.parallel_map(_load, files, workers=_AT_ONCE, ahead=_AT_ONCE, here=_is_local)) as loaded:
        yield from loaded


def _load(file: CatalogFile) -> CatalogFile:
    return file.load()


def _is_local(file: CatalogFile) -> bool:
    return file.is_local


def _open_tree(catalog: Path | str) -> tuple[FileTree, str]:
    """Return the tree that a catalog is in, and its path there."""
    if isinstance(catalog, str):
        from ingest.catalog.remote import RemoteTree

        remote = RemoteTree(catalog)
        return remote, remote.root
    from ingest.catalog.local import LocalTree

    is_remote(str(catalog), "--catalog")  # raises ConfigError for a URL that lost a slash when it became a Path
    return LocalTree(), catalog.as_posix()


def _split_glob(path: str) -> tuple[str, tuple[str, ...]]:
    """Return a glob's folder, up to the first wildcard, and the patterns that follow it, one for each name."""
    names = path.split("/")
    first = next(at for at, name in enumerate(names) if glob.has_magic(name))
    return "/".join(names[:first]) or "/"[: path.startswith("/")], tuple(filter(None, names[first:]))


def _join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if folder else name


def _matching_files(tree: FileTree, folder: str, patterns: tuple[str, ...]) -> list[CatalogFile]:
    """Return the files below `folder` that the patterns match, sorted by name."""
    if patterns[-1] == "**":
        patterns = (*patterns, "*")
    matching = dict(_walk(tree, folder, "", patterns, {0}))
    return [tree.file(_join(folder, name), name, entry) for name, entry in sorted(matching.items())]


def _walk(
    tree: FileTree, folder: str, below: str, patterns: tuple[str, ...], positions: set[int]
) -> Iterator[tuple[str, FileEntry]]:
    """Yield (name, entry) of the matching files in `folder`/`below`, and in the folders there.

    `positions` are the patterns that a name in this folder may match next; `**` makes them several.
    `glob` and fsspec skip a folder that cannot be listed. Here it is an error, because rows missing from a catalog may
    be deleted from the collection.
    """
    positions = _skip_wildcard_folders(patterns, positions)
    for entry in sorted(tree.entries(_join(folder, below) if below else folder), key=lambda entry: entry.name):
        if entry.name.startswith(_HIDDEN):
            continue
        name = f"{below}{entry.name}"
        matched = {at for at in positions if patterns[at] != "**" and fnmatchcase(entry.name, patterns[at])}
        is_last = len(patterns) - 1 in matched
        if not entry.is_folder:
            if is_last:
                yield name, entry
            continue
        deeper = {at + 1 for at in matched} - {len(patterns)} | {at for at in positions if patterns[at] == "**"}
        if deeper:
            yield from _walk(tree, folder, f"{name}/", patterns, deeper)
        elif is_last:
            _check_no_parts(folder, name)


def _skip_wildcard_folders(patterns: tuple[str, ...], positions: set[int]) -> set[int]:
    """Add the patterns that follow a `**`, which may match no folder at all."""
    found = set(positions)
    for at, pattern in enumerate(patterns):
        if at in found and pattern == "**":
            found.add(at + 1)
    return found


def _check_no_parts(folder: str, name: str) -> None:
    """Raise CatalogError for a folder that is named like a part or a partition, as Spark writes them."""
    ending = find_ending(name)
    if ending or "=" in name.rpartition("/")[2]:
        raise CatalogError(
            f"{_join(folder, name)}: is a folder of part files, not a file; name the files in it: "
            f"{_join(folder, '**')}/*{ending or '.parquet'}"
        )


def _check_formats(catalog: Path | str, files: Sequence[CatalogFile]) -> None:
    formats: dict[str, CatalogFile] = {}
    for file in files:
        formats.setdefault(format_of(file), file)
    if len(formats) > 1:
        one, other = list(formats.values())[:2]
        folder = "…" if glob.has_magic(str(catalog)) else str(catalog)
        raise CatalogError(
            f"{catalog}: has files of two formats, {one.name} and {other.name}; choose one, such as "
            f"{_join(folder, '*' + format_of(one))}"
        )
