"""Downloads, against a real server."""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import pickle
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from support.http_server import Answer
from support.synced import noting_fsync

from ingest.core.errors import StorageError
from ingest.core.records import Reason
from ingest.core.redaction import redact
from ingest.images.http.download_policy import DownloadPolicy
from ingest.images.http.downloader import Downloader
from ingest.images.urls import DownloadError


def refused(downloader, url, path):
    """Fetch a URL that must fail; return the reason and the detail."""
    with pytest.raises(DownloadError) as caught:
        downloader.fetch(url, path)
    assert "\n" not in caught.value.detail
    return caught.value.reason, caught.value.detail


def with_policy(downloader, **changes):
    """Return another downloader, with other settings."""
    return Downloader(replace(downloader.policy, **changes), downloader.sleep)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "image"


def test_an_image_arrives_with_its_digest_and_validators(server, downloader, path, jpeg):
    url = server.serve("/a.png", Answer(jpeg, headers={"ETag": '"7"', "Last-Modified": "yesterday"}))
    got = downloader.fetch(url, path)
    assert path.read_bytes() == jpeg
    assert (got.sha256, got.size) == (hashlib.sha256(jpeg).digest(), len(jpeg))
    assert (got.extension, got.etag, got.last_modified) == ("jpg", '"7"', "yesterday")
    _, headers = server.requests[0]
    assert headers["User-Agent"].startswith("ingest/")
    assert headers["User-Agent"].endswith(" (+product picture fetcher)")


def test_a_download_is_fsynced_when_it_is_whole(server, downloader, path, jpeg):
    with noting_fsync() as synced:
        downloader.fetch(server.serve("/a", Answer(jpeg)), path)
    assert synced == {path.stat().st_ino: len(jpeg)}


def test_connections_are_reused_and_limited_per_host(server, downloader, tmp_path, jpeg):
    url = server.serve("/a", Answer(jpeg))
    few = with_policy(downloader, at_once=2)
    threads = [Thread(target=few.fetch, args=(url, tmp_path / str(number))) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked("/a") == 12
    assert server.connections <= 2


@pytest.mark.parametrize(
    ("status", "reason", "tries"),
    [
        (404, Reason.NOT_FOUND, 1),
        (410, Reason.NOT_FOUND, 1),
        (401, Reason.HTTP_4XX, 1),
        (403, Reason.HTTP_4XX, 1),
        (418, Reason.HTTP_4XX, 1),
        (429, Reason.HTTP_429, 3),
        (500, Reason.HTTP_5XX, 3),
        (503, Reason.HTTP_5XX, 3),
        (204, Reason.BAD_ANSWER, 1),
        (304, Reason.BAD_ANSWER, 1),
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


@pytest.mark.parametrize(("header", "seconds"), [("7", (7, 10)), ("soon", (0, 10))])
def test_retry_after_is_honoured(server, downloader, path, jpeg, waits, header, seconds):
    url = server.serve("/a", Answer(status=429, headers={"Retry-After": header}), Answer(jpeg))
    downloader.fetch(url, path)
    assert seconds[0] <= waits[0] <= seconds[1]


def test_retry_after_may_be_a_date(server, downloader, path, jpeg, waits):
    soon = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    url = server.serve("/a", Answer(status=503, headers={"Retry-After": soon}), Answer(jpeg))
    downloader.fetch(url, path)
    assert 15 <= waits[0] <= 20


def test_no_wait_goes_beyond_the_deadline_and_the_host_is_left_alone(server, downloader, path, jpeg, waits):
    url = server.serve("/a", Answer(status=429, headers={"Retry-After": "20"}), Answer(jpeg))
    hasty = with_policy(downloader, deadline_s=15)
    assert refused(hasty, url, path)[0] == Reason.HTTP_429
    assert waits == []
    assert refused(hasty, server.serve("/b", Answer(jpeg)), path)[0] == Reason.HOST_RESTING
    assert server.asked("/b") == 0


def test_a_host_that_fails_twenty_times_rests_for_a_minute(server, downloader, path, jpeg):
    url, good = server.serve("/a", Answer(status=500)), server.serve("/b", Answer(jpeg))
    once = with_policy(downloader, tries=1)
    for _ in range(20):
        assert refused(once, url, path)[0] == Reason.HTTP_5XX
    assert refused(once, good, path)[0] == Reason.HOST_RESTING
    assert server.asked("/b") == 0
    once._hosts._host("127.0.0.1").rests_until = 0
    assert once.fetch(good, path).size == len(jpeg)


def test_missing_images_do_not_send_a_host_to_rest(server, downloader, path, jpeg):
    for _ in range(25):
        assert refused(downloader, server.url("/none"), path)[0] == Reason.NOT_FOUND
    assert downloader.fetch(server.serve("/b", Answer(jpeg)), path).size == len(jpeg)


def test_an_unchanged_image_costs_no_body(server, downloader, path, jpeg):
    url = server.serve("/a", Answer(status=304))
    assert downloader.fetch(url, path, '"7"', "yesterday") is None
    _, headers = server.requests[0]
    assert (headers["If-None-Match"], headers["If-Modified-Since"]) == ('"7"', "yesterday")
    assert not path.exists()


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


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><p>Not here", b"no image", b"<svg/>", b"BM is text" * 9])
def test_the_bytes_say_whether_it_is_an_image(server, downloader, path, body):
    url = server.serve("/a.jpg", Answer(body, headers={"Content-Type": "image/jpeg"}))
    assert refused(downloader, url, path)[0] == Reason.NOT_AN_IMAGE
    assert server.asked("/a.jpg") == 1


def test_the_size_is_counted_whatever_the_server_declares(server, downloader, path, jpeg):
    small = with_policy(downloader, max_bytes=100_000)
    declared = server.serve("/a", Answer(jpeg, length=100_001))
    assert refused(small, declared, path)[0] == Reason.TOO_LARGE
    assert refused(small, server.serve("/b", Answer(jpeg, endless=True)), path)[0] == Reason.TOO_LARGE
    assert path.stat().st_size <= 100_000


def test_an_image_of_just_the_largest_size_arrives(server, downloader, path, jpeg):
    url = server.serve("/a", Answer(jpeg))
    assert with_policy(downloader, max_bytes=len(jpeg)).fetch(url, path).size == len(jpeg)
    assert refused(with_policy(downloader, max_bytes=len(jpeg) - 1), url, path)[0] == Reason.TOO_LARGE


def test_the_size_of_a_compressed_body_is_that_of_its_content(server, downloader, path, jpeg):
    zipped = {"Content-Encoding": "gzip"}
    downloader.fetch(server.serve("/a", Answer(gzip.compress(jpeg), headers=zipped)), path)
    assert path.read_bytes() == jpeg
    bomb = server.serve("/b", Answer(gzip.compress(jpeg + bytes(10**6)), headers=zipped))
    assert refused(with_policy(downloader, max_bytes=100_000), bomb, path)[0] == Reason.TOO_LARGE


def test_a_server_that_stalls_times_out(server, downloader, path, jpeg):
    url = server.serve("/a", Answer(jpeg[:100], length=len(jpeg), hangs=True))
    reason, detail = refused(with_policy(downloader, read_s=0.05, tries=1), url, path)
    assert (reason, "too long" in detail) == (Reason.TIMEOUT, True)


def test_an_endless_body_ends_at_the_deadline(server, downloader, path, jpeg):
    url = server.serve("/a", Answer(jpeg, endless=True))
    patient = with_policy(downloader, deadline_s=0.05, max_bytes=10**12)
    assert refused(patient, url, path)[0] == Reason.TIMEOUT


def test_a_cookie_is_kept_for_its_chain_of_redirects_alone(server, downloader, path, jpeg):
    server.serve("/b", Answer(jpeg))
    url = server.serve("/a", Answer(status=302, headers={"Location": "/b", "Set-Cookie": "id=1"}))
    downloader.fetch(url, path)
    downloader.fetch(url, path)
    asked = [(got, headers.get("Cookie")) for got, headers in server.requests]
    assert asked == [("/a", None), ("/b", "id=1")] * 2


def test_an_endless_body_under_a_redirect_is_not_read(server, downloader, path, jpeg):
    server.serve("/b", Answer(jpeg))
    url = server.serve("/a", Answer(b"x" * 999, status=301, headers={"Location": "/b"}, endless=True))
    assert downloader.fetch(url, path).size == len(jpeg)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/a", Reason.BAD_ANSWER),
        ("file:///etc/passwd", Reason.DISALLOWED),
        ("ftp://host/a", Reason.DISALLOWED),
        ("http://[", Reason.DISALLOWED),
        ("https://", Reason.DISALLOWED),
    ],
)
def test_a_redirect_to_an_unusable_url_is_not_followed(server, downloader, path, location, reason):
    url = server.serve("/a", Answer(status=302, headers={"Location": location}))
    assert refused(downloader, url, path)[0] == reason


def test_a_host_that_does_not_answer_is_unreachable(downloader, path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    reason, detail = refused(downloader, f"http://127.0.0.1:{port}/a.jpg?token=s3cret", path)
    assert reason == Reason.CONNECT
    assert detail == f"http://127.0.0.1:{port}/a.jpg: connection refused; try again later"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses connections")
def test_a_host_that_accepts_no_connection_is_not_waited_for_until_the_deadline(downloader, path):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.settimeout(0)
            one.connect_ex(full.getsockname())
        hasty = with_policy(downloader, connect_s=0.1, read_s=20, deadline_s=20, tries=1)
        began = time.monotonic()
        reason, _ = refused(hasty, f"http://127.0.0.1:{full.getsockname()[1]}/a.jpg", path)
    assert reason.is_transient
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("url", ["http://", "http:///a", "http://[::1", "http://a:99999/", "http://a:x/", "http://.x/"])
def test_a_url_that_cannot_be_requested_is_refused(downloader, path, url):
    assert refused(downloader, url, path)[0] == Reason.DISALLOWED


def test_secrets_in_a_url_are_never_shown(server, downloader, path):
    url = server.serve("/a.jpg?sig=s3cret#s3cret", Answer(status=403)).replace("//", "//me:s3cret@")
    _, detail = refused(downloader, url, path)
    assert "s3cret" not in detail
    assert "/a.jpg" in detail
    assert server.requests[0][1]["Authorization"].startswith("Basic ")


def test_a_shown_url_is_one_short_printable_line():
    assert redact("https://h/a\x1b[31m\u202eb") == "https://h/a?[31m?b"
    assert len(redact("https://h/" + "a" * 999)) == 200


def test_a_disk_that_cannot_be_written_ends_the_run(server, downloader, tmp_path, jpeg):
    url = server.serve("/a", Answer(jpeg))
    with pytest.raises(StorageError, match="cannot be written"):
        downloader.fetch(url, tmp_path / "gone" / "file")


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        DownloadPolicy().tries = 9


def test_a_downloader_can_be_pickled(server, downloader, path, jpeg):
    with pickle.loads(pickle.dumps(Downloader(downloader.policy))) as copy:
        assert copy.fetch(server.serve("/a", Answer(jpeg)), path).size == len(jpeg)
