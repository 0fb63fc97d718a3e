"""The tables of the cache's index, and their migration from earlier layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core import redaction
from ingest.images import urls

if TYPE_CHECKING:
    import sqlite3

VERSION = 3
"""The layout's number, kept in `PRAGMA user_version`; 0 is an empty database."""

# The table is called `picture`: existing caches have it under this name.
_IMAGES = """
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


def read_version(db: sqlite3.Connection) -> int:
    """Return the number of a database's layout."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring a database with the earlier layout `version` to the current one, in one transaction."""
    db.execute("PRAGMA secure_delete = ON")  # overwrites the secrets that earlier layouts kept
    db.create_function("key", 1, urls.key)
    db.create_function("key_of_layout_2", 2, urls.key_of_layout_2)
    db.create_function("host", 1, urls.host)
    db.create_function("redact", 1, redaction.redact)
    db.create_function("redact_text", 1, redaction.redact_text)
    db.execute("BEGIN IMMEDIATE")
    if version == 0:
        db.execute(_IMAGES)
    if version == 1:
        _from_layout_1(db)
    if version == 2:
        _from_layout_2(db)
    else:
        db.execute(_CONTENTS)
    db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def _from_layout_1(db: sqlite3.Connection) -> None:
    """Take the secrets out of URLs, which layout 1 kept whole."""
    db.execute("ALTER TABLE picture ADD COLUMN source_key BLOB")
    db.execute("ALTER TABLE picture ADD COLUMN host TEXT")
    db.execute(
        "UPDATE picture SET source_key = key(source), host = host(source), source = redact(source),"
        " detail = redact_text(detail) WHERE file IS NOT NULL OR failure IS NOT NULL"
    )


def _from_layout_2(db: sqlite3.Connection) -> None:
    """Give URLs a key of two halves; layout 2 had the SHA-256 of all of a URL, and showed parts of malformed ones."""
    db.execute(
        "UPDATE picture SET source_key = key_of_layout_2(source, source_key), source = redact(source),"
        " detail = redact_text(detail) WHERE source_key IS NOT NULL"
    )
