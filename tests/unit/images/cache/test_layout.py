"""Indexes of earlier layouts."""

from __future__ import annotations

import hashlib
import sqlite3

from ingest.images.cache.cache import ImageCache
from ingest.images.urls import UrlKey


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


def test_an_index_of_layout_2_keeps_its_images_by_either_key_and_loses_its_secrets(tmp_path, jpeg):
    plain, signed = "https://shop.example/a.jpg", "https://shop.example/b.jpg?sig=1"
    broken = "http://me:s3/cret@shop.example/c.jpg"
    with ImageCache(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "index.sqlite") as db:
        for product_id, url in (("P1", plain), ("P2", signed)):
            (tmp_path / f"{product_id}.jpg").write_bytes(jpeg)
            status = (tmp_path / f"{product_id}.jpg").stat()
            row = (product_id, url.partition("?")[0], hashlib.sha256(url.encode()).digest(), "shop.example",
                   f"{product_id}.jpg", hashlib.sha256(jpeg).digest(), status.st_size, status.st_mtime_ns, None, None,
                   5.0, 1, None, "")  # fmt: skip
            db.execute(f"INSERT INTO picture VALUES ({', '.join('?' * 14)})", row)
        failed = ("P3", broken, hashlib.sha256(broken.encode()).digest(), "me", None, None, None, None, None, None, 5.0,
                  1, "disallowed", f"{broken}: not a usable URL")  # fmt: skip
        db.execute(f"INSERT INTO picture VALUES ({', '.join('?' * 14)})", failed)
        db.execute("PRAGMA user_version = 2")
    db.close()
    with ImageCache(tmp_path) as cache:
        assert cache.find("P1", plain).tries == cache.find("P2", signed).tries == 1
        assert cache.find("P2", signed.replace("1", "2")) is None
        assert cache.get("P3").detail == "http://…shop.example/c.jpg: not a usable URL"
        assert cache.get("P3").is_from(broken)
    with ImageCache(tmp_path, url_key=UrlKey.PATH) as cache:
        assert cache.find("P2", signed.replace("1", "2")).tries == 1
    assert b"cret@" not in (tmp_path / "index.sqlite").read_bytes()
    (tmp_path / "index.sqlite").unlink()
    with ImageCache(tmp_path) as cache:
        assert cache.find("P2", signed.replace("1", "2")) is None
        assert cache.find("P2", signed).tries == 1
