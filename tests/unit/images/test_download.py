"""One download's policy, against a real server."""

from __future__ import annotations

import gzip
import hashlib
import socket
from dataclasses import replace
from threading import Thread

import pytest
from http_server import Answer

from ingest.errors import StorageError
from ingest.images.download import Downloader
from ingest.images.urls import DownloadError, shown
from ingest.records import Reason


def refused(downloader, url, path):
    """Fetch what must fail; return the reason and the detail."""
    with pytest.raises(DownloadError) as caught:
        downloader.fetch(url, path)
    assert "\n" not in caught.value.detail
    return caught.value.reason, caught.value.detail


@pytest.fixture
def path(tmp_path):
    return tmp_path / "picture"


def test_a_picture_arrives_with_its_digest_and_validators(server, downloader, path, jpeg):
    url = server.serve("/a.png", Answer(jpeg, headers={"ETag": '"7"', "Last-Modified": "yesterday"}))
    got = downloader.fetch(url, path)
    assert path.read_bytes() == jpeg
    assert (got.sha256, got.size) == (hashlib.sha256(jpeg).digest(), len(jpeg))
    assert (got.extension, got.etag, got.last_modified) == ("jpg", '"7"', "yesterday")
    _, headers = server.requests[0]
    assert headers["User-Agent"].startswith("ingest/")
    assert headers["User-Agent"].endswith(" (+product picture fetcher)")


def test_one_connection_serves_one_threads_pictures(server, downloader, path, jpeg):
    url = server.serve("/a", Answer(jpeg))
    for _ in range(3):
        downloader.fetch(url, path)
    assert server.connections == 1


def test_threads_do_not_share_connections(server, downloader, tmp_path, jpeg):
    url = server.serve("/a", Answer(jpeg))
    threads = [Thread(target=downloader.fetch, args=(url, tmp_path / str(number))) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.connections == 4


@pytest.mark.parametrize(
    ("status", "reason", "tries"),
    [
        (404, Reason.NOT_FOUND, 1),
        (410, Reason.NOT_FOUND, 1),
        (401, Reason.REFUSED, 1),
        (403, Reason.REFUSED, 1),
        (418, Reason.REFUSED, 1),
        (429, Reason.UNREACHABLE, 3),
        (500, Reason.UNREACHABLE, 3),
        (503, Reason.UNREACHABLE, 3),
        (204, Reason.UNREACHABLE, 1),
        (304, Reason.UNREACHABLE, 1),
    ],
)
def test_a_status_has_its_reason_and_tries(server, downloader, path, status, reason, tries):
    got, detail = refused(downloader, server.serve("/a", Answer(status=status)), path)
    assert got == reason
    assert str(status) in detail
    assert server.asked("/a") == tries


def test_a_server_that_recovers_is_tried_again(server, downloader, path, jpeg, waits):
    url = server.serve("/a", Answer(status=500), Answer(status=502), Answer(jpeg))
    assert downloader.fetch(url, path).size == len(jpeg)
    assert len(waits) == 2


@pytest.mark.parametrize(("header", "seconds"), [("7", (7, 10)), ("9999", (30, 30)), ("soon", (0, 10))])
def test_retry_after_is_honoured_within_reason(server, tmp_path, jpeg, header, seconds):
    waits = []
    url = server.serve("/a", Answer(status=429, headers={"Retry-After": header}), Answer(jpeg))
    with Downloader(sleep=waits.append) as downloader:
        downloader.fetch(url, tmp_path / "picture")
    assert seconds[0] <= waits[0] <= seconds[1]


def test_no_wait_goes_beyond_the_deadline(server, downloader, path, jpeg, waits):
    url = server.serve("/a", Answer(status=429, headers={"Retry-After": "20"}), Answer(jpeg))
    assert refused(replace(downloader, deadline_s=15), url, path)[0] == Reason.UNREACHABLE
    assert waits == []


def test_a_body_shorter_than_declared_is_truncated_and_tried_again(server, downloader, path, jpeg):
    url = server.serve("/a", Answer(jpeg[:500], length=len(jpeg)))
    assert refused(downloader, url, path)[0] == Reason.TRUNCATED
    assert server.asked("/a") == 3
    url = server.serve("/b", Answer(jpeg[:500], length=len(jpeg)), Answer(jpeg))
    downloader.fetch(url, path)
    assert path.read_bytes() == jpeg


def test_a_chunked_body_without_its_end_is_truncated(server, downloader, path, jpeg):
    assert refused(downloader, server.serve("/a", Answer(jpeg, chunked=True)), path)[0] == Reason.TRUNCATED


def test_an_empty_body_is_truncated(server, downloader, path):
    assert refused(downloader, server.serve("/a", Answer()), path)[0] == Reason.TRUNCATED


def test_a_body_without_a_length_is_taken_to_its_end(server, downloader, path, jpeg):
    assert downloader.fetch(server.serve("/a", Answer(jpeg, length=-1)), path).size == len(jpeg)


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><p>Not here", b"no picture", b"<svg/>", b"BM is text" * 9])
def test_what_is_no_picture_is_told_by_its_bytes(server, downloader, path, body):
    url = server.serve("/a.jpg", Answer(body, headers={"Content-Type": "image/jpeg"}))
    assert refused(downloader, url, path)[0] == Reason.NOT_AN_IMAGE
    assert server.asked("/a.jpg") == 1


def test_size_is_counted_whatever_the_server_declares(server, downloader, path, jpeg):
    small = replace(downloader, max_bytes=100_000)
    declared = server.serve("/a", Answer(jpeg, length=100_001))
    assert refused(small, declared, path)[0] == Reason.TOO_LARGE
    assert refused(small, server.serve("/b", Answer(jpeg, endless=True)), path)[0] == Reason.TOO_LARGE
    assert path.stat().st_size <= 100_000


def test_a_compressed_body_is_decompressed_and_counted_so(server, downloader, path, jpeg):
    zipped = {"Content-Encoding": "gzip"}
    downloader.fetch(server.serve("/a", Answer(gzip.compress(jpeg), headers=zipped)), path)
    assert path.read_bytes() == jpeg
    bomb = server.serve("/b", Answer(gzip.compress(jpeg + bytes(10**6)), headers=zipped))
    assert refused(replace(downloader, max_bytes=100_000), bomb, path)[0] == Reason.TOO_LARGE


def test_a_server_that_stalls_is_given_up(server, downloader, path, jpeg):
    url = server.serve("/a", Answer(jpeg[:100], length=len(jpeg), hangs=True))
    reason, detail = refused(replace(downloader, read_s=0.05, tries=1), url, path)
    assert (reason, "too long" in detail) == (Reason.UNREACHABLE, True)


def test_a_body_without_end_meets_the_deadline(server, downloader, path, jpeg):
    url = server.serve("/a", Answer(jpeg, endless=True))
    patient = replace(downloader, deadline_s=0.05, max_bytes=10**12)
    assert refused(patient, url, path)[0] == Reason.UNREACHABLE


def test_redirects_are_followed_and_no_cookie_kept(server, downloader, path, jpeg):
    server.serve("/b", Answer(jpeg))
    url = server.serve("/a", Answer(status=302, headers={"Location": "/b", "Set-Cookie": "id=1"}))
    downloader.fetch(url, path)
    downloader.fetch(url, path)
    assert all("Cookie" not in headers for _, headers in server.requests)


def test_an_endless_body_under_a_redirect_is_not_read(server, downloader, path, jpeg):
    server.serve("/b", Answer(jpeg))
    url = server.serve("/a", Answer(b"x" * 999, status=301, headers={"Location": "/b"}, endless=True))
    assert downloader.fetch(url, path).size == len(jpeg)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/a", Reason.UNREACHABLE),
        ("file:///etc/passwd", Reason.REFUSED),
        ("ftp://host/a", Reason.REFUSED),
        ("http://[", Reason.REFUSED),
        ("https://", Reason.REFUSED),
    ],
)
def test_a_redirect_to_nowhere_good_is_not_followed(server, downloader, path, location, reason):
    url = server.serve("/a", Answer(status=302, headers={"Location": location}))
    assert refused(downloader, url, path)[0] == reason


def test_a_host_that_does_not_answer_is_unreachable(downloader, path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    reason, detail = refused(downloader, f"http://127.0.0.1:{port}/a.jpg?token=s3cret", path)
    assert reason == Reason.UNREACHABLE
    assert detail == f"http://127.0.0.1:{port}/a.jpg: connection refused"


@pytest.mark.parametrize("url", ["http://", "http:///a", "http://[::1", "http://a:99999/", "http://a:x/", "http://.x/"])
def test_a_url_that_no_request_can_be_made_of_is_refused(downloader, path, url):
    assert refused(downloader, url, path)[0] == Reason.REFUSED


def test_secrets_in_a_url_are_never_shown(server, downloader, path):
    url = server.serve("/a.jpg?sig=s3cret#s3cret", Answer(status=403)).replace("//", "//me:s3cret@")
    _, detail = refused(downloader, url, path)
    assert "s3cret" not in detail
    assert "/a.jpg" in detail
    assert server.requests[0][1]["Authorization"].startswith("Basic ")


def test_a_shown_url_is_one_short_printable_line():
    assert shown("https://h/a\x1b[31m\u202eb") == "https://h/a?[31m?b"
    assert len(shown("https://h/" + "a" * 999)) == 200


def test_a_disk_that_cannot_be_written_ends_the_run(server, downloader, tmp_path, jpeg):
    url = server.serve("/a", Answer(jpeg))
    with pytest.raises(StorageError, match="cannot be written"):
        downloader.fetch(url, tmp_path / "gone" / "file")


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        Downloader().tries = 9
