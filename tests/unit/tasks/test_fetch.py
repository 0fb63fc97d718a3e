"""A fetch over real HTTP: what it says about URLs, and what it leaves on disk."""

from __future__ import annotations

import csv
import json
import threading

import pytest
from PIL import Image
from support.http_server import Answer, Server
from support.image_files import saved

from ingest.core.settings import Settings
from ingest.images.cache.cache import FOLDER
from ingest.pipeline.progress import Progress
from ingest.tasks.fetch import fetch

SECRET = "S3cr3tS3cr3t"
MALFORMED = [
    "http:user:{}@h.example/x.jpg", "http:\\\\user:{}@h.example\\x.jpg", "//user:{}@h.example/x.jpg",
    "http://user:{}/b@h.example/x.jpg", "http://user:a?{}@h.example/x.jpg", "http://user:{}", "user:{}@h.example/x.jpg",
    "<http://user:{}@h.example/x.jpg>", "ftp://user:{}@h.example/x.jpg", "file://user:{}@h.example/x.jpg",
    "http://127.0.0.1:1/x.jpg;token={}", "images/x.jpg?sig={}", "http://user:{}\x01@h.example/x.jpg",
    "HTTP://127.0.0.1:1/x.jpg?X-Amz-Signature={}#{}",
]  # fmt: skip


@pytest.fixture
def server():
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def run(tmp_path):
    """Fetch a catalog of these images; return the result."""

    def run(images, **changes):
        catalog = tmp_path / "products.csv"
        with catalog.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["product_id", "title", "image"])
            table.writerows([f"P{number}", "a", image] for number, image in enumerate(images))
        settings = Settings(catalog=catalog, data=tmp_path / "data", allow_private=True, download_tries=1, **changes)
        return fetch(settings, Progress(), threading.Event())

    return run


def test_no_file_and_no_result_has_the_password_of_a_malformed_url(tmp_path, run):
    result = run([image.replace("{}", SECRET) for image in MALFORMED])
    assert result.skipped == len(MALFORMED)
    assert SECRET not in repr(result)
    written = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert {"skipped.csv", "report.json", "index.sqlite"} <= {path.name for path in written}
    for path in written:
        assert SECRET.encode() not in path.read_bytes(), path.name


def test_signed_urls_are_downloaded_each_night_until_the_path_is_the_key(tmp_path, run, server):
    for number in range(3):
        image = saved(Image.new("RGB", (32, 32), (number, 0, 0)), "JPEG")
        server.serve(f"/{number}.jpg", Answer(image))
    signed = [[server.url(f"/{number}.jpg?sig={night}") for number in range(3)] for night in range(5)]
    assert run(signed[0]).notes == ()
    [note] = run(signed[1]).notes
    assert note.startswith("3 of 3 image URLs changed only after the path, and 3 of those images did not change")
    [folder] = [path for path in (tmp_path / "data" / "runs").iterdir() if note in (path / "report.json").read_text()]
    assert json.loads((folder / "report.json").read_text())["notes"] == [note]
    assert len(server.requests) == 6
    for night in (2, 3):
        result = run(signed[night], url_key="path")
        assert (result.pictures, result.notes) == (3, ())
    assert run(signed[1]).pictures == 3, "the URLs that they were downloaded from"
    assert len(server.requests) == 6


def test_a_lost_index_costs_no_download_and_mixes_up_no_products(tmp_path, run, server):
    urls = [
        server.serve(f"/{number}", Answer(saved(Image.new("RGB", (32, 32), (number * 80, 0, 0)), "JPEG")))
        for number in range(3)
    ]
    run(urls)
    cache = tmp_path / "data" / FOLDER
    before = [(cache / f"P{number}.jpg").read_bytes() for number in range(3)]
    for path in cache.glob("index.sqlite*"):
        path.unlink()
    run([urls[0], urls[2], urls[1]])
    assert [(cache / f"P{number}.jpg").read_bytes() for number in range(3)] == [before[0], before[2], before[1]]
    assert [server.asked(f"/{number}") for number in range(3)] == [1, 2, 2]
