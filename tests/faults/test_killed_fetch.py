"""A fetch that is killed thirty times leaves no torn file, no row without its file, and fetches nothing twice."""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from support.forked import fork_server

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = 500
KILLS = 30

FETCH = """
import sys
from pathlib import Path
from ingest.runtime import parallel
from ingest.images.http.addresses import AddressPolicy
from ingest.images.cache.cache import ImageCache
from ingest.images.http.download_policy import DownloadPolicy
from ingest.images.http.downloader import Downloader
from ingest.images.resolver import ImageResolver
from ingest.images.roots import ImageRoots
from ingest.core.records import ImageFile, Product

folder, base = Path(sys.argv[1]), sys.argv[2]
products = (Product(f"P{number}", f"{base}/{number}", {}, number) for number in range(int(sys.argv[3])))
with ImageCache(folder) as cache, Downloader(DownloadPolicy(addresses=AddressPolicy(allow_private=True))) as downloader:
    fetch = ImageResolver(cache, downloader, ImageRoots([folder]))
    got = parallel.parallel_map_by_key(fetch, products, key=fetch.host, workers=8, at_once=8, ahead=1000)
    sys.exit(sum(1 for record in got if not isinstance(record, ImageFile)))
"""


def content(number: int) -> bytes:
    """Return bytes that pass for an image, some of more than one read."""
    return b"\xff\xd8\xff\xe0" + random.Random(number).randbytes(20_000 + number * 300)


@pytest.fixture
def server():
    asked = Counter()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            number = int(self.path[1:])
            asked[number] += 1
            body = content(number)
            time.sleep(0.01)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Stay quiet."""

        def handle(self):
            try:
                super().handle()
            except OSError:
                self.close_connection = True  # the client was killed

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{http.server_address[1]}", asked
    http.shutdown()
    http.server_close()
    thread.join()


def whole(folder: Path) -> set[int]:
    """Return the images under their final name, after comparing every byte."""
    found = set()
    for path in folder.glob("P*.jpg"):
        number = int(path.stem[1:])
        assert path.read_bytes() == content(number), f"{path.name} is torn"
        found.add(number)
    return found


def recorded(folder: Path) -> set[int]:
    """Return the images in the index, each of which must exist."""
    with closing(sqlite3.connect(folder / "index.sqlite")) as db:
        rows = db.execute("SELECT product_id, file, sha256 FROM picture WHERE file IS NOT NULL").fetchall()
    for _, name, sha256 in rows:
        assert hashlib.sha256((folder / name).read_bytes()).digest() == sha256, name
    return {int(product_id[1:]) for product_id, _, _ in rows}


def test_thirty_kills_tear_nothing_and_fetch_nothing_twice(tmp_path, server):
    base, asked = server
    folder = tmp_path / "cache"
    folder.mkdir()
    moments = random.Random(20261123)
    command = ["-c", FETCH, str(folder), base, str(IMAGES)]
    kept: dict[int, int] = {}
    for _ in range(KILLS):
        process = fork_server().start(command, tmp_path, os.environ)
        begun = asked.total()
        reached = begun + moments.randrange(1, 2 * IMAGES // KILLS)
        while asked.total() < reached and process.poll() is None:
            time.sleep(0.001)
        time.sleep(moments.random() * 0.01)
        process.kill()
        process.wait()
        time.sleep(0.03)  # what the server has under way
        there = whole(folder)
        assert recorded(folder) <= there
        assert {number: asked[number] for number in kept} == kept, "a whole image was fetched again"
        kept = {number: asked[number] for number in there}
    assert 0 < len(kept) < IMAGES, "the kills came too late or too early to tell anything"

    assert fork_server().start(command, tmp_path, os.environ).wait() == 0
    assert len(whole(folder)) == len(recorded(folder)) == IMAGES
    assert {number: asked[number] for number in kept} == kept
    assert not list(folder.glob("*.part"))
