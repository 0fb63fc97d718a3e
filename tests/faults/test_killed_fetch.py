"""A fetch that is killed leaves no torn file and no row without its file, fetches nothing twice, mixes up no URLs."""

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
products = (Product(f"P{number}", f"{base}/{number}{sys.argv[4]}", {}, number) for number in range(int(sys.argv[3])))
with ImageCache(folder) as cache, Downloader(DownloadPolicy(addresses=AddressPolicy(allow_private=True))) as downloader:
    fetch = ImageResolver(cache, downloader, ImageRoots([folder]))
    got = parallel.parallel_map_by_key(fetch, products, key=fetch.host, workers=8, at_once=8, ahead=1000)
    end = sys.argv[4].encode()
    good = [isinstance(record, ImageFile) and record.path.read_bytes().endswith(end) for record in got]
    sys.exit(min(good.count(False), 99))
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
            path, mark, query = self.path.partition("?")
            number = int(path[1:])
            asked[number] += 1
            body = content(number) + (mark + query).encode()
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


def settle(asked: Counter[int]) -> None:
    """Wait until the server has counted the requests of a killed process."""
    before = -1
    while asked.total() != before:
        before = asked.total()
        time.sleep(0.2)


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
    command = ["-c", FETCH, str(folder), base, str(IMAGES), ""]
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


def test_no_kill_leaves_an_image_that_is_later_taken_for_another_urls(tmp_path, server):
    base, asked = server
    folder = tmp_path / "cache"
    folder.mkdir()
    moments = random.Random(20261127)
    images, kept = 60, 0
    for version in range(8):
        command = ["-c", FETCH, str(folder), base, str(images), f"?v={version}"]
        process = fork_server().start(command, tmp_path, os.environ)
        reached = asked.total() + moments.randrange(10, images)
        while asked.total() < reached and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.wait()
        settle(asked)
        written = [path for path in folder.glob("P*.jpg") if path.read_bytes().endswith(f"?v={version}".encode())]
        kept += len(written)
        if version % 2:  # as the message about a damaged index advises
            for path in folder.glob("index.sqlite*"):
                path.unlink()
        begun = asked.total()
        # The same URLs, or others: exit code 0 says that every product has the image of its own URL.
        now = version if version % 3 else version + 100
        command = ["-c", FETCH, str(folder), base, str(images), f"?v={now}"]
        assert fork_server().start(command, tmp_path, os.environ).wait() == 0
        expected = images - len(written) if now == version else images
        assert asked.total() - begun == expected, "an image was fetched again, or one of another URL was used"
    assert kept > images, "the kills came too early to tell anything"
