"""The picture cache's SQLite index: one row for each product, one connection, a commit for each batch."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING

from ingest.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 1
"""The layout's number, kept in `PRAGMA user_version`."""

BATCH_ROWS = 256
BATCH_S = 1.0

_SCHEMA = """
CREATE TABLE picture (
    product_id    TEXT PRIMARY KEY,
    source        TEXT NOT NULL,
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


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the index.

    `source` is a URL or an absolute path. `file` is a name within the cache folder, None for a local picture
    and for a failure. `sha256` (32 bytes), `size` and `mtime_ns` are None for a failure, whose `failure` is a
    `Reason`'s text. `fetched_at` is seconds since 1970. `tries` counts the downloads begun for this source;
    it is 0 for a file that was adopted and for a local one.
    """

    product_id: str
    source: str
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


_COLUMNS = ", ".join(field.name for field in fields(Entry))
_PUT = f"INSERT OR REPLACE INTO picture ({_COLUMNS}) VALUES ({', '.join('?' * len(fields(Entry)))})"  # noqa: S608
_GET = f"SELECT {_COLUMNS} FROM picture WHERE product_id = ?"  # noqa: S608


class Index:
    """The rows, for any number of threads; a row that was put is seen at once and committed within its batch.

    A batch ends after 256 rows or at the first call a second after its first row. Every method raises
    StorageError, one line, when SQLite cannot go on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._rows = 0
        self._since = 0.0
        with self._reported():
            # autocommit: this class begins and commits by itself
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with self._reported():
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def get(self, product_id: str) -> Entry | None:
        """Return the product's row, None where there is none."""
        with self._lock, self._reported():
            self._commit_if_due()
            row = self._db.execute(_GET, (product_id,)).fetchone()
        return None if row is None else Entry(*row)

    def put(self, entry: Entry) -> None:
        """Write the row, in place of the product's earlier one."""
        with self._lock, self._reported():
            if not self._db.in_transaction:
                self._db.execute("BEGIN IMMEDIATE")
                self._rows, self._since = 0, time.monotonic()
            self._db.execute(_PUT, astuple(entry))
            self._rows += 1
            self._commit_if_due()

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
        if version == 0:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {VERSION}")
            self._db.execute("COMMIT")

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


def _way_out(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return "free some disk space and run again; what was fetched is kept"
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        return "delete this file and run again; the pictures beside it are kept and recorded again"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another program has it open; wait for it or close it, and run again"
    return "make sure that the folder exists and can be written, and run again"
