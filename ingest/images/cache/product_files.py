"""The files of products in the cache folder: their names, where each is from, and how they make room for others."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

from ingest.images.cache import files
from ingest.images.cache.filenames import encode
from ingest.images.cache.sources import Sources
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest.images.cache.entry import CacheEntry
    from ingest.images.cache.replaced import ReplacedImages


class UnrecordedFile(NamedTuple):
    """An image that no row vouches for; `key` is that of the URL it is from, None if it was put there by hand."""

    name: str
    sha256: bytes
    status: os.stat_result
    key: bytes | None


class ProductFiles:
    """The files of one cache folder, for any number of threads; those put there by hand are never deleted.

    Without `has_strays` every image in the folder has a row, so that nothing is looked for. With `ignores_case` the
    file system takes `abc.jpg` and `ABC.jpg` for one name.
    """

    def __init__(self, folder: Path, replaced: ReplacedImages, *, has_strays: bool, ignores_case: bool) -> None:
        self.sources = Sources(folder)
        self._folder = folder
        self._replaced = replaced
        self._has_strays = has_strays
        self._ignores_case = ignores_case

    def unrecorded(self, product_id: str, row: CacheEntry | None) -> Iterator[UnrecordedFile]:
        """Yield the product's images other than the row's; the row's too if the user has replaced it by another.

        Raises OSError if a file cannot be read.
        """
        for name in self._names(product_id, row):
            path = self._folder / name
            of_row = row if row is not None and row.file == name else None
            if (of_row is not None and of_row.is_unchanged(path.stat())) or not files.is_image(path):
                continue
            sha256, status = files.hash_file(path)
            key = self.sources.find(name, sha256)
            if key is None and of_row is not None and not of_row.is_adopted:
                continue  # a download that was damaged
            yield UnrecordedFile(name, sha256, status, key)

    def claim(self, product_id: str, name: str) -> str:
        """Give a file our own name for the product if case is ignored here: `ABC` would overwrite `abc.jpg`."""
        stem, _, kind = name.rpartition(".")
        if not self._ignores_case or stem == encode(product_id):
            return name
        own = f"{encode(product_id)}.{kind}"
        with storage_errors(self._folder):
            (self._folder / name).rename(self._folder / own)
        return own

    def make_room(self, product_id: str, row: CacheEntry | None, name: str, sha256: bytes) -> None:
        """Retire the product's files, before one with this name and SHA-256 is put in their place."""
        for other in self._names(product_id, row):
            if self._is_by_hand(other, row, sha256):
                self._set_aside(other)
            elif other != name:  # a file of that name is replaced in one step
                (self._folder / other).unlink(missing_ok=True)

    def link(self, name: str, path: Path, row: CacheEntry) -> bool:
        """Make `path` another name of the file `name`, or a copy; return whether it is the file of the row."""
        try:
            os.link(self._folder / name, path)
        except FileNotFoundError:
            return False
        except (OSError, NotImplementedError):  # no hard links here, or as many as a file may have
            with storage_errors(path), (self._folder / name).open("rb") as source, path.open("wb") as copy:
                shutil.copyfileobj(source, copy)
                copy.flush()
                os.fsync(copy.fileno())
            return files.hash_file(path)[0] == row.sha256
        return row.is_unchanged(path.stat())

    def retire(self, row: CacheEntry) -> None:
        """Remove the row's file, or set it aside if it was put there by hand."""
        if row.file is None:
            return
        with storage_errors(self._folder):
            if self._is_by_hand(row.file, row):
                self._set_aside(row.file)
            else:
                (self._folder / row.file).unlink(missing_ok=True)

    def _names(self, product_id: str, row: CacheEntry | None) -> Iterator[str]:
        if self._has_strays:
            yield from files.product_files(self._folder, product_id, ignores_case=self._ignores_case)
        elif row is not None and row.file is not None and (self._folder / row.file).is_file():
            yield row.file

    def _is_by_hand(self, name: str, row: CacheEntry | None, successor: bytes = b"") -> bool:
        """Return whether a file was put there by hand, and is not the same as its `successor`."""
        path = self._folder / name
        if not path.is_file() or (row is not None and row.file == name and not row.is_adopted):
            return False
        sha256, _ = files.hash_file(path)
        return sha256 != successor and self.sources.find(name, sha256) is None

    def _set_aside(self, name: str) -> None:
        (self._folder / name).replace(self._folder / f"{name}.replaced")
        self._replaced.set_aside()
