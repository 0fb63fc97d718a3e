"""The picture cache's SQLite index: one row for each product, one connection, a commit for each batch."""

from __future__ import annotations

import functools
import operator
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

from ingest.core.errors import StorageError
from ingest.images import urls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

VERSION = 2
"""The layout's number, kept in `PRAGMA user_version`."""

BATCH_ROWS = 256
BATCH_S = 1.0

_PICTURES = """
CREATE TABLE picture (
    product_id    TEXT PRIMARY KEY,
    source        TEXT NOT NULL,
    source_key    BLOB,
    host          TEXT,
    file          TEXT,
    sha256        BLOB CHECK (sha256 IS NULL OR length(sha256) = 32),
    size          INTEGER,
    mtime_ns      INTEGER,
    etag          TEXT,
    last_modified TEXT,
    fetched_at    REAL NOT NULL,
    tries         INTEGER NOT NULL,
    failure       TEXT,
    detail        TEXT NOT NULL
) WITHOUT ROWID
"""
_CONTENTS = """
CREATE TABLE content (
    sha256 BLOB PRIMARY KEY CHECK (length(sha256) = 32),
    width  INTEGER NOT NULL,
    height INTEGER NOT NULL,
    blank  INTEGER NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True)
class ImageContent:
    """What was seen when bytes were decoded: sides in pixels, and whether all of it is one colour."""

    width: int
    height: int
    blank: bool


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A row of the index.

    `source` is an absolute path, or a URL without what may be secret in it, whose `source_key` is the SHA-256 of
    all of it and whose `host` stands apart. `file` is a name within the cache folder, None for a local picture
    and where there is none. `sha256` (32 bytes), `size` and `mtime_ns` are None where there is none. `failure`
    is a `Reason`'s text, None where the last try went well. `fetched_at`, seconds since 1970, is when it was
    last fetched, confirmed or failed. `tries` counts the downloads begun for this source; it is 0 for a file
    that was adopted and for a local one.
    """

    product_id: str
    source: str
    source_key: bytes | None
    host: str | None
    file: str | None
    sha256: bytes | None
    size: int | None
    mtime_ns: int | None
    etag: str | None
    last_modified: str | None
    fetched_at: float
    tries: int
    failure: str | None
    detail: str


_COLUMNS = ", ".join(field.name for field in fields(CacheEntry))
_PUT = f"INSERT OR REPLACE INTO picture ({_COLUMNS}) VALUES ({', '.join('?' * len(fields(CacheEntry)))})"  # noqa: S608
_SELECT = f"SELECT {_COLUMNS} FROM picture WHERE product_id"  # noqa: S608


class ImageIndex:
    """The rows, for any number of threads; a row that was put is seen at once and committed within its batch.

    A batch ends after 256 rows or at the first call a second after its first row. Every method raises
    StorageError, one line, when SQLite cannot go on. `connect` is `open_read_only` or `open_copy` for those who change
    nothing.
    """

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection] | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._rows = 0
        self._since = 0.0
        with self._reported():
            self._db = (connect or _connect)(path)
        try:
            with self._reported():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def get(self, product_id: str) -> CacheEntry | None:
        """Return the product's row, None where there is none."""
        with self._lock, self._reported():
            self._commit_if_due()
            row = self._db.execute(f"{_SELECT} = ?", (product_id,)).fetchone()
        return None if row is None else CacheEntry(*row)

    def get_all(self, product_ids: Sequence[str]) -> dict[str, CacheEntry]:
        """Return the rows of these products, by their ids; no more of them at once than SQLite takes (32,766)."""
        query = f"{_SELECT} IN ({', '.join('?' * len(product_ids))})"
        return {row[0]: CacheEntry(*row) for row in self.select(query, *product_ids)}

    def put(self, entry: CacheEntry) -> None:
        """Write the row, in place of the product's earlier one."""
        self._write(_PUT, astuple(entry))

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._lock, self._reported():
            if not self._db.in_transaction:
                self._db.execute("BEGIN IMMEDIATE")
                self._rows, self._since = 0, time.monotonic()
            self._db.execute(statement, values)
            self._rows += 1
            self._commit_if_due()

    def content(self, sha256: bytes) -> ImageContent | None:
        """Return what was seen of the bytes with that digest, None where they were never decoded."""
        with self._lock, self._reported():
            row = self._db.execute("SELECT width, height, blank FROM content WHERE sha256 = ?", (sha256,)).fetchone()
        return None if row is None else ImageContent(row[0], row[1], bool(row[2]))

    def put_content(self, sha256: bytes, content: ImageContent) -> None:
        """Write down what was seen."""
        self._write("INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?)", (sha256, *astuple(content)))

    def fingerprint(self) -> int:
        """Return the exclusive or of the hashes of all file names, to compare with a folder's in this process."""
        with self._lock, self._reported():
            names = self._db.execute("SELECT file FROM picture WHERE file IS NOT NULL")
            return functools.reduce(operator.xor, (hash(name) for (name,) in names), 0)

    def select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query, with what was put and is not committed yet."""
        with self._lock, self._reported():
            return self._db.execute(query, values).fetchall()

    def flush(self) -> None:
        """Commit what was put."""
        with self._lock, self._reported():
            self._commit()

    def close(self) -> None:
        """Commit and close; a second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                with self._reported():
                    self._commit()
            finally:
                self._db.close()

    _closed = False

    def _prepare(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StorageError(
                f"{self._path}: written by a newer ingest (layout {version}, this one knows {VERSION});"
                " update ingest, or delete the file: the pictures beside it are kept and recorded again"
            )
        self._db.execute("PRAGMA journal_mode = WAL")
        # A power cut may lose the last commits but never corrupt: the index may lag behind the disk.
        self._db.execute("PRAGMA synchronous = NORMAL")
        if version == VERSION:
            return
        self._db.execute("PRAGMA secure_delete = ON")  # what layout 1 kept of URLs' queries goes for good
        self._db.execute("BEGIN IMMEDIATE")
        if version == 0:
            self._db.execute(_PICTURES)
        else:
            self._from_layout_1()
        self._db.execute(_CONTENTS)
        self._db.execute(f"PRAGMA user_version = {VERSION}")
        self._db.execute("COMMIT")

    def _from_layout_1(self) -> None:
        """Take the secrets out of URLs; layout 1 kept them whole."""
        self._db.execute("ALTER TABLE picture ADD COLUMN source_key BLOB")
        self._db.execute("ALTER TABLE picture ADD COLUMN host TEXT")
        self._db.create_function("key", 1, urls.key)
        self._db.create_function("host", 1, urls.host)
        self._db.create_function("shown", 1, urls.redact)
        self._db.execute(
            "UPDATE picture SET source_key = key(source), host = host(source), source = shown(source)"
            " WHERE file IS NOT NULL OR failure IS NOT NULL"
        )

    def _commit_if_due(self) -> None:
        waited = time.monotonic() - self._since
        if self._db.in_transaction and (self._rows >= BATCH_ROWS or waited >= BATCH_S):
            self._commit()

    def _commit(self) -> None:
        if self._db.in_transaction:
            self._db.execute("COMMIT")

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise  # used after close, from a bug of ours
        except sqlite3.Error as error:
            raise StorageError(f"{self._path}: {error}; {_way_out(error)}") from error


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open an existing index to be read alone; one of an older layout is read from a copy of the current one."""
    db = _read_only(path)
    if db.execute("PRAGMA user_version").fetchone() == (VERSION,):
        return db
    db.close()
    return open_copy(path)


def open_copy(path: Path) -> sqlite3.Connection:
    """Open a copy of an index, or an empty one, in an unnamed temporary file: what is put there goes with it."""
    copy = _connect("")
    if path.is_file():
        with closing(_read_only(path)) as source:
            source.backup(copy)
    return copy


def _connect(path: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    # autocommit: `ImageIndex` begins and commits by itself
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, uri=uri)


def _read_only(path: Path) -> sqlite3.Connection:
    # SQLite makes two files beside one in WAL mode, for its readers too, and a reader leaves them. Without a log nobody
    # writes, and then it need not (https://www.sqlite.org/wal.html, "Read-Only Databases").
    log = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    return _connect(f"{path.absolute().as_uri()}?{how}", uri=True)


def _way_out(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return "free some disk space and run again; what was fetched is kept"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return "delete this file and run again; the pictures beside it are kept and recorded again"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another program has it open; wait for it or close it, and run again"
    return "make sure that the folder exists and can be written, and run again"
