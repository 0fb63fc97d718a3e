"""The image cache's SQLite index: one row per product, one connection, one commit per batch."""

from __future__ import annotations

import functools
import operator
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ingest.core.errors import StorageError
from ingest.images.cache.entry import CacheEntry, ImageContent
from ingest.images.cache.layout import VERSION, migrate, read_version
from ingest.images.urls import UrlKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

BATCH_ROWS = 256
BATCH_S = 1.0
_PAGE = 4096
_UNUSABLE = """
CREATE TABLE IF NOT EXISTS unusable (key BLOB PRIMARY KEY, failure TEXT NOT NULL, detail TEXT NOT NULL) WITHOUT ROWID
"""
"""Made when it is first needed: layout 3 allows it, and earlier versions do not look at it."""

_COLUMNS = ", ".join(field.name for field in fields(CacheEntry))
_values = operator.attrgetter(*(field.name for field in fields(CacheEntry)))  # astuple takes ten times as long
_PUT = f"INSERT OR REPLACE INTO picture ({_COLUMNS}) VALUES ({', '.join('?' * len(fields(CacheEntry)))})"  # noqa: S608
_SELECT = f"SELECT {_COLUMNS} FROM picture WHERE product_id"  # noqa: S608


class ImageIndex:
    """The rows, for any number of threads. A new row is visible at once and committed with its batch.

    A batch ends after 256 rows, or with the first call that comes a second after its first row. Every method raises
    StorageError if SQLite fails. Callers that change nothing pass `open_read_only` or `open_copy` as `connect`.
    """

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection] | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._rows = 0
        self._since = 0.0
        self._closed = False
        self._indexed: set[UrlKey] = set()
        with self._storage_errors():
            self._db = (connect or _connect)(path)
        try:
            with self._storage_errors():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def get(self, product_id: str) -> CacheEntry | None:
        """Return the product's row, None if it has none."""
        with self._lock, self._storage_errors():
            self._commit_if_due()
            row = self._db.execute(f"{_SELECT} = ?", (product_id,)).fetchone()
        return None if row is None else CacheEntry(*row)

    def get_all(self, product_ids: Sequence[str]) -> dict[str, CacheEntry]:
        """Return the rows of at most 32,766 products (SQLite's limit), by product id."""
        query = f"{_SELECT} IN ({', '.join('?' * len(product_ids))})"
        return {row[0]: CacheEntry(*row) for row in self.select(query, *product_ids)}

    def put(self, entry: CacheEntry) -> None:
        """Write the row, in place of the product's earlier one."""
        self.put_all([entry])

    def put_all(self, entries: Iterable[CacheEntry]) -> None:
        """Write rows, in place of the products' earlier ones."""
        self._write(_PUT, [_values(entry) for entry in entries])

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if not rows:
            return
        with self._lock, self._storage_errors():
            if not self._db.in_transaction:
                self._db.execute("BEGIN IMMEDIATE")
                self._rows, self._since = 0, time.monotonic()
            self._db.executemany(statement, rows)
            self._rows += len(rows)
            self._commit_if_due()

    def content(self, sha256: bytes) -> ImageContent | None:
        """Return the content of the bytes with that digest, None if they were never decoded."""
        with self._lock, self._storage_errors():
            row = self._db.execute("SELECT width, height, blank FROM content WHERE sha256 = ?", (sha256,)).fetchone()
        return None if row is None else ImageContent(row[0], row[1], bool(row[2]))

    def put_contents(self, contents: Iterable[tuple[bytes, ImageContent]]) -> None:
        """Write the contents of bytes, by their digests."""
        rows = [(sha256, content.width, content.height, content.blank) for sha256, content in contents]
        self._write("INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?)", rows)

    def find_download(self, source_key: bytes, url_key: UrlKey, but: str) -> CacheEntry | None:
        """Return the latest row of a file that was downloaded from this URL for a product other than `but`.

        The first call on a database creates SQLite's index for it, which layout 3 allows: earlier versions keep it up.
        """
        part = "substr(source_key, 1, 16)" if url_key is UrlKey.PATH else "substr(source_key, 17)"
        downloaded = "sha256 IS NOT NULL AND file IS NOT NULL AND source_key IS NOT NULL AND tries > 0"
        with self._lock, self._storage_errors():
            if url_key not in self._indexed:
                columns = f"({part}, fetched_at) WHERE {downloaded}"
                self._db.execute(f"CREATE INDEX IF NOT EXISTS download_by_{url_key} ON picture {columns}")
                self._indexed.add(url_key)
            row = self._db.execute(
                f"SELECT {_COLUMNS} FROM picture WHERE {part} = ? AND {downloaded} AND product_id <> ? "  # noqa: S608
                "ORDER BY fetched_at DESC LIMIT 1",
                (url_key.part(source_key), but),
            ).fetchone()
        return None if row is None else CacheEntry(*row)

    def unusable(self, keys: Sequence[bytes]) -> dict[bytes, tuple[str, str]]:
        """Return, for those of the URLs or bytes that are no image for good, the reason and the detail.

        A key is `urls.key` or a SHA-256, 32 bytes. Noted for products with several images, whose row is of another one.
        """
        with self._lock, self._storage_errors():
            self._db.execute(_UNUSABLE)
        query = f"SELECT key, failure, detail FROM unusable WHERE key IN ({', '.join('?' * len(keys))})"  # noqa: S608
        return {key: (failure, detail) for key, failure, detail in self.select(query, *keys)}

    def seen(self, shas: Sequence[bytes]) -> set[bytes]:
        """Return those of the digests whose bytes were decoded before."""
        query = f"SELECT sha256 FROM content WHERE sha256 IN ({', '.join('?' * len(shas))})"  # noqa: S608
        return {sha256 for (sha256,) in self.select(query, *shas)}

    def put_unusable(self, rows: Sequence[tuple[bytes, str, str]]) -> None:
        """Note keys, reasons and details."""
        with self._lock, self._storage_errors():
            self._db.execute(_UNUSABLE)
        self._write("INSERT OR REPLACE INTO unusable VALUES (?, ?, ?)", rows)

    def all_unusable(self) -> list[tuple[bytes, str, str]]:
        """Return all that was noted."""
        with self._lock, self._storage_errors():
            self._db.execute(_UNUSABLE)
        return self.select("SELECT key, failure, detail FROM unusable")

    def count_from_urls(self) -> int:
        """Return how many images are from URLs."""
        ((count,),) = self.select("SELECT count(*) FROM picture WHERE file IS NOT NULL AND source_key IS NOT NULL")
        return int(count)

    def downloads(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield the name, the SHA-256 and the URL's key of each file that was downloaded."""
        wanted = "file IS NOT NULL AND sha256 IS NOT NULL AND source_key IS NOT NULL AND tries > 0"
        for entry in self._pages(wanted):
            if entry.file and entry.sha256 and entry.source_key:  # always, as the condition says; for the types
                yield entry.file, entry.sha256, entry.source_key

    def entries(self) -> Iterator[CacheEntry]:
        """Yield all rows, a few thousand in memory at a time."""
        return self._pages("TRUE")

    def contents(self) -> list[tuple[bytes, ImageContent]]:
        """Return the content of all bytes that were decoded, with their digests."""
        rows = self.select("SELECT sha256, width, height, blank FROM content")
        return [(sha256, ImageContent(width, height, bool(blank))) for sha256, width, height, blank in rows]

    def fingerprint(self) -> int:
        """Return the XOR of the hashes of all file names, which `scan` computes for a folder in the same process."""
        with self._lock, self._storage_errors():
            names = self._db.execute("SELECT file FROM picture WHERE file IS NOT NULL")
            return functools.reduce(operator.xor, (hash(name) for (name,) in names), 0)

    def select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query, including those not committed yet."""
        with self._lock, self._storage_errors():
            return self._db.execute(query, values).fetchall()

    def flush(self) -> None:
        """Commit all rows."""
        with self._lock, self._storage_errors():
            self._commit()

    def close(self) -> None:
        """Commit and close; a second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                with self._storage_errors():
                    self._commit()
            finally:
                self._db.close()

    def _pages(self, condition: str) -> Iterator[CacheEntry]:
        last = ""
        where = f"WHERE product_id > ? AND {condition} ORDER BY product_id LIMIT {_PAGE}"
        while page := self.select(f"SELECT {_COLUMNS} FROM picture {where}", last):  # noqa: S608  constants
            yield from (CacheEntry(*row) for row in page)
            last = page[-1][0]

    def _prepare(self) -> None:
        version = read_version(self._db)
        if version > VERSION:
            raise StorageError(
                f"{self._path}: written by a newer ingest (layout {version}, this one knows {VERSION});"
                " update ingest, or delete the file: the images beside it are kept and recorded again"
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        # A power cut may lose the last commits but corrupts nothing: the index may lag behind the disk.
        self._db.execute("PRAGMA synchronous = NORMAL")
        if version < VERSION:
            migrate(self._db, version)

    def _commit_if_due(self) -> None:
        waited = time.monotonic() - self._since
        if self._db.in_transaction and (self._rows >= BATCH_ROWS or waited >= BATCH_S):
            self._commit()

    def _commit(self) -> None:
        if self._db.in_transaction:
            self._db.execute("COMMIT")

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # a bug, such as a call after close
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: {error}; {_fix(error)}") from error


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open an existing index for reading; one with an older layout is copied and migrated first."""
    db = _read_only(path)
    if read_version(db) == VERSION:
        return db
    db.close()
    return open_copy(path)


def open_copy(path: Path) -> sqlite3.Connection:
    """Open a copy of an index, or an empty index, in an unnamed temporary file, which is deleted on close."""
    copy = _connect("")
    if path.is_file():
        with closing(_read_only(path)) as source:
            source.backup(copy)
    return copy


def _connect(path: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    # autocommit: `ImageIndex` begins and commits transactions itself
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, uri=uri)


def _read_only(path: Path) -> sqlite3.Connection:
    # Even a reader of a WAL database creates two files beside it and leaves them. Without a log there is no writer, and
    # `immutable` avoids them (https://www.sqlite.org/wal.html, "Read-Only Databases").
    log = path.with_name(f"{path.name}-wal")
    mode = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    return _connect(f"{path.absolute().as_uri()}?{mode}", uri=True)


def _fix(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return "free some disk space and run again; downloaded images are kept"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return "delete this file and run again; the images beside it are kept and recorded again"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another program has it open; wait until it ends, or close it, and run again"
    return "make sure that the folder exists and is writable, and run again"
