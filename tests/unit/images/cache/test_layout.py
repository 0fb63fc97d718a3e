"""Indexes of earlier layouts."""

from __future__ import annotations

import sqlite3

from ingest.images.cache.cache import ImageCache


def test_an_index_of_layout_1_is_migrated_without_its_secrets(tmp_path, jpeg):
    layout_1 = """CREATE TABLE picture (product_id TEXT PRIMARY KEY, source TEXT NOT NULL, file TEXT, sha256 BLOB,
        size INTEGER, mtime_ns INTEGER, etag TEXT, last_modified TEXT, fetched_at REAL NOT NULL, tries INTEGER NOT NULL,
        failure TEXT, detail TEXT NOT NULL) WITHOUT ROWID"""
    url = "https://me:s3cret@shop.example/a.jpg?sig=s3cret"
    (tmp_path / "P1.jpg").write_bytes(jpeg)
    with sqlite3.connect(tmp_path / "index.sqlite") as db:
        db.execute(layout_1)
        row = ("P1", url, None, None, None, None, None, None, 5.0, 2, "http 4xx", "403")
        db.execute(f"INSERT INTO picture VALUES ({', '.join('?' * 12)})", row)
        db.execute("PRAGMA user_version = 1")
    db.close()
    with ImageCache(tmp_path) as cache:
        entry = cache.get("P1")
        assert (entry.source, entry.host, entry.tries) == ("https://shop.example/a.jpg", "shop.example", 2)
        assert cache.find("P1", url) is not None
    assert b"s3cret" not in (tmp_path / "index.sqlite").read_bytes()
