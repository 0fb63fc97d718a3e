"""Hostile servers: each gets its reason in time, and the other images arrive."""

from __future__ import annotations

import gzip
import io
import shutil
import socket
import time
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from skimage import data
from support import certificates
from support.reading import decode_one

from faults import hostile
from faults.hostile import (
    answer,
    dripping,
    in_turn,
    raw,
    redirect,
    repeating,
    silent,
    then_closed,
    then_reset,
    then_silent,
)
from ingest.core.records import ImageFile, Product, Reason
from ingest.images.cache.cache import ImageCache
from ingest.images.http.addresses import AddressPolicy
from ingest.images.http.download_policy import DownloadPolicy
from ingest.images.http.downloader import Downloader
from ingest.images.http.headers import HostHeaders
from ingest.images.resolver import ImageResolver
from ingest.images.roots import ImageRoots
from ingest.images.whatwg_url import parse
from ingest.runtime import parallel

DEADLINE_S = 2.0
GRACE_S = 1.5  # of a machine that does other things too
LIMIT = 200_000
GOOD = 40


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(data.astronaut()).resize((96, 64)).save(stream, "JPEG")
    return stream.getvalue()


JPEG = jpeg()
OK = f"HTTP/1.1 200 OK\r\nContent-Length: {len(JPEG)}\r\n\r\n".encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"
GZIP = "Content-Encoding: gzip"
ARRIVES = None

BEHAVIOURS = {
    "never answers": (silent, Reason.TIMEOUT),
    "a byte of the header now and then": (dripping(OK + JPEG), Reason.TIMEOUT),
    "a byte of the body now and then": (dripping(OK + JPEG, len(OK) + 99), Reason.TIMEOUT),
    "stops in the middle": (then_silent(OK + JPEG[:500]), Reason.TIMEOUT),
    "interim answers without end": (repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99), Reason.TIMEOUT),
    "resets in the middle": (then_reset(raw(OK + JPEG[:500])), Reason.TRUNCATED),
    "resets at once": (then_reset(raw(b"")), Reason.CONNECT),
    "closes at once": (then_closed(raw(b"")), Reason.CONNECT),
    "closes in the header": (then_closed(raw(b"HTTP/1.1 200 OK\r\nConte")), Reason.TRUNCATED),
    "declares too much": (then_closed(answer("200 OK", JPEG, length=len(JPEG) + 9)), Reason.TRUNCATED),
    "declares too little": (answer("200 OK", JPEG, length=900), Reason.TRUNCATED),
    "declares far too much": (answer("200 OK", JPEG, length=10**30), Reason.TOO_LARGE),
    "declares less than nothing": (then_closed(answer("200 OK", JPEG, length=-5)), ARRIVES),
    "endless body": (repeating(ENDLESS, JPEG), Reason.TOO_LARGE),
    "endless chunks": (repeating(CHUNKED, b"%x\r\n%s\r\n" % (len(JPEG), JPEG)), Reason.TOO_LARGE),
    "gzip bomb": (hostile.bomb(JPEG, 100), Reason.TOO_LARGE),
    "gzip in gzip bomb": (
        answer("200 OK", gzip.compress(gzip.compress(JPEG + bytes(10**8))), "Content-Encoding: gzip, gzip"),
        Reason.TOO_LARGE,
    ),
    "gzip that is none": (answer("200 OK", JPEG, GZIP), Reason.BAD_ANSWER),
    "gzip all the same": (answer("200 OK", gzip.compress(JPEG), GZIP), ARRIVES),
    "redirect loop": (redirect("/a.jpg"), Reason.BAD_ANSWER),
    "redirect to the metadata service": (redirect("http://169.254.169.254/latest/meta-data"), Reason.BLOCKED_ADDRESS),
    "redirect to a private address": (redirect("http://10.0.0.1/"), Reason.BLOCKED_ADDRESS),
    "redirect to loopback by name": (redirect("http://localhost:1/"), Reason.BLOCKED_ADDRESS),
    "redirect to loopback as a number": (redirect("http://2130706433:1/"), Reason.BLOCKED_ADDRESS),
    "redirect to loopback in IPv6": (redirect("http://[::1]:1/"), Reason.BLOCKED_ADDRESS),
    "redirect to IPv4 in IPv6": (redirect("http://[::ffff:127.0.0.1]:1/"), Reason.BLOCKED_ADDRESS),
    "redirect to NAT64": (redirect("http://[64:ff9b::a00:1]/"), Reason.BLOCKED_ADDRESS),
    "redirect to any address": (redirect("http://0.0.0.0:1/"), Reason.BLOCKED_ADDRESS),
    "redirect to file:": (redirect("file:///etc/passwd"), Reason.DISALLOWED),
    "redirect to ftp:": (redirect("ftp://127.0.0.1/a"), Reason.DISALLOWED),
    "redirect to data:": (redirect("data:image/png;base64,AAAA"), Reason.DISALLOWED),
    "redirect to nowhere": (answer("301 Moved", b""), Reason.BAD_ANSWER),
    "HTML called a JPEG": (answer("200 OK", b"<!DOCTYPE html>", "Content-Type: image/jpeg"), Reason.NOT_AN_IMAGE),
    "SVG": (answer("200 OK", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), Reason.NOT_AN_IMAGE),
    "empty 200": (answer("200 OK"), Reason.TRUNCATED),
    "101": (raw(b"HTTP/1.1 101 Switching\r\n\r\n"), Reason.BAD_ANSWER),
    "204": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), Reason.BAD_ANSWER),
    "206": (answer("206 Partial", JPEG[:99], "Content-Range: bytes 0-98/9999"), Reason.BAD_ANSWER),
    "304 unasked": (raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), Reason.BAD_ANSWER),
    "401": (answer("401 Unauthorized", b"", "WWW-Authenticate: Basic"), Reason.HTTP_4XX),
    "403": (answer("403 Forbidden"), Reason.HTTP_4XX),
    "404": (answer("404 Not Found", b"<html>" * 99), Reason.NOT_FOUND),
    "410": (answer("410 Gone"), Reason.NOT_FOUND),
    "408 for ever": (answer("408 Request Timeout"), Reason.TIMEOUT),
    "429 once, with seconds": (in_turn(answer("429 Slow", b"", "Retry-After: 1"), raw(OK + JPEG)), ARRIVES),
    "429 with a date": (answer("429 Slow", b"", f"Retry-After: {hostile.in_an_hour()}"), Reason.HTTP_429),
    "500 once": (in_turn(answer("500 Oops"), raw(OK + JPEG)), ARRIVES),
    "503 for ever": (answer("503 Busy"), Reason.HTTP_5XX),
    "header of a megabyte": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**6 + b"\r\n\r\n"), Reason.BAD_ANSWER),
    "ten thousand headers": (raw(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 10**4 + b"\r\n"), Reason.BAD_ANSWER),
    "invalid header bytes": (raw(OK[:-2] + b"X\0\xff: \xfe\r\n\r\n" + JPEG), ARRIVES),
    "a header without a colon": (then_closed(raw(b"HTTP/1.1 200 OK\r\n\xff\xfe\r\n\r\n" + JPEG)), ARRIVES),
    "chunk of a bad size": (raw(CHUNKED + b"zz\r\n" + JPEG), Reason.TRUNCATED),
    "chunk of a negative size": (raw(CHUNKED + b"-9\r\n" + JPEG), Reason.TIMEOUT),
    "chunks without their end": (then_closed(raw(CHUNKED + b"%x\r\n%s" % (len(JPEG), JPEG))), Reason.TRUNCATED),
    "HTTP/0.9": (then_closed(raw(JPEG)), Reason.BAD_ANSWER),
    "no HTTP": (then_closed(raw(b"220 ftp ready\r\n")), Reason.BAD_ANSWER),
    "a status that is none": (then_closed(raw(b"HTTP/1.1 abc OK\r\n\r\n")), Reason.BAD_ANSWER),
    "an answer more than asked for": (raw(OK + JPEG + OK + b"<html>"), ARRIVES),
}


@dataclass
class Ran:
    """What one run over all of it gave: records and seconds by name, and the most memory that Python held."""

    records: dict[str, object]
    seconds: dict[str, float]
    peak: int
    good: int


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    hosts = {name: hostile.Host(number, behave) for number, (name, (behave, _)) in enumerate(BEHAVIOURS.items(), 1)}
    good = hostile.Host(250, raw(OK + JPEG))
    named = [(name, host.url()) for name, host in hosts.items()]
    step = len(named) // GOOD + 1
    for number in range(GOOD):
        named.insert(number * (step + 1) % len(named), (f"good {number}", good.url(f"/{number}")))
    seconds = {}
    policy = DownloadPolicy(
        connect_s=1,
        read_s=0.7,
        deadline_s=DEADLINE_S,
        tries=2,
        max_bytes=LIMIT,
        addresses=AddressPolicy(hosts=frozenset(host.name for host in [*hosts.values(), good])),
    )
    folder = tmp_path_factory.mktemp("hostile")
    with ImageCache(folder / "cache") as cache, Downloader(policy) as downloader:
        fetch = ImageResolver(cache, downloader, ImageRoots([folder]))

        def timed(product):
            began = time.monotonic()
            record = fetch(product)
            seconds[product.product_id] = time.monotonic() - began
            if not isinstance(record, ImageFile):
                return record
            return decode_one(record, lambda image: np.asarray(image.resize((8, 8))))

        products = (Product(name, url, {}, 1) for name, url in named)
        tracemalloc.start()
        found = list(parallel.parallel_map_by_key(timed, products, key=fetch.host, workers=32, at_once=8, ahead=1000))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    for host in [*hosts.values(), good]:
        host.stop()
    records = {name: record for (name, _), record in zip(named, found, strict=True)}
    arrived = sum(1 for name in records if name.startswith("good") and hasattr(records[name], "pixels"))
    return Ran(records, seconds, peak, arrived)


@pytest.mark.parametrize(("name", "reason"), [(name, reason) for name, (_, reason) in BEHAVIOURS.items()])
def test_each_behaviour_has_its_reason_within_its_deadline(ran, name, reason):
    record = ran.records[name]
    assert getattr(record, "reason", ARRIVES) == reason, record
    assert ran.seconds[name] < DEADLINE_S + GRACE_S
    if reason is not ARRIVES:
        assert record.detail.isprintable()


def test_the_other_images_of_the_run_arrive(ran):
    assert ran.good == GOOD


def test_memory_stays_bounded(ran):
    assert ran.peak < 15 * 10**6, "4.6 MB at rest"


@pytest.fixture
def fetched(tmp_path):
    """Fetch one URL; give what came or the reason why nothing did."""

    def fetch(url, **policy):
        policy = {"read_s": 0.7, "connect_s": 1, "deadline_s": DEADLINE_S, "tries": 2, **policy}
        with (
            ImageCache(tmp_path / "cache") as cache,
            Downloader(DownloadPolicy(**policy), lambda _: None) as downloader,
        ):
            record = ImageResolver(cache, downloader, ImageRoots([tmp_path]))(Product("P", url, {}, 1))
            return "arrives" if isinstance(record, ImageFile) else record.reason

    return fetch


@pytest.fixture
def host():
    running = []

    def start(number, behave, context=None):
        running.append(hostile.Host(number, behave, context))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.mark.parametrize("location", ["http://{other}/b", "http://thief:pw@{other}/b", "//{other}/b"])
def test_no_credentials_reach_another_host(host, fetched, location):
    other = host(201, raw(OK + JPEG))
    first = host(200, redirect(location.format(other=f"{other.name}:{other.port}")))
    secrets = HostHeaders({parse(first.url()).origin: {"Authorization": "Bearer s3cret", "X-Key": "s3cret"}})
    allowed = AddressPolicy(hosts=frozenset({first.name, other.name}))
    url = first.url("/a.jpg?sig=s3cret").replace("//", "//me:s3cret@")
    assert fetched(url, addresses=allowed, host_headers=secrets) == "arrives"
    assert b"Bearer s3cret" in first.requests[0]
    for word in (b"s3cret", b"Authorization", b"Cookie", b"Referer", b"X-Key", b"thief"):
        assert word not in other.requests[0]


def test_a_redirect_does_not_borrow_the_credentials_of_the_host_it_leads_to(host, fetched):
    other = host(203, raw(OK + JPEG))
    first = host(202, redirect(other.url()))
    secrets = HostHeaders({parse(other.url()).origin: {"Authorization": "Bearer s3cret"}})
    assert fetched(
        first.url(), addresses=AddressPolicy(hosts=frozenset({first.name, other.name})), host_headers=secrets
    )
    assert b"s3cret" not in other.requests[0]


def test_a_name_that_is_public_when_checked_and_private_when_used_gains_nothing(host, fetched, monkeypatch):
    private = host(204, raw(OK + JPEG))
    answers = ["93.184.216.34", private.name]
    tried = []

    def resolve(name, port, **_):
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(self, address):
        tried.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket.socket, "connect", connect, raising=False)
    assert fetched(f"http://rebind.example:{private.port}/a.jpg") == Reason.BLOCKED_ADDRESS
    assert tried == ["93.184.216.34"]
    assert private.requests == []


def test_a_name_that_is_not_known_and_a_port_where_nobody_listens(host, fetched):
    closed = host(205, raw(b""))
    closed.stop()
    allowed = AddressPolicy(hosts=frozenset({closed.name}))
    assert fetched(closed.url(), addresses=allowed) == Reason.CONNECT
    assert fetched("http://no-such-name.invalid/a.jpg") == Reason.DNS


def test_loopback_is_not_fetched_from_unless_allowed(host, fetched):
    here = host(206, raw(OK + JPEG))
    assert fetched(here.url()) == Reason.BLOCKED_ADDRESS
    assert here.requests == []
    assert fetched(here.url(), addresses=AddressPolicy(allow_private=True)) == "arrives"


def test_a_port_that_does_not_speak_tls(host, fetched):
    plain, mute = host(207, then_closed(raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"))), host(208, silent)
    hasty = {"addresses": AddressPolicy(allow_private=True), "connect_s": 0.3, "tries": 1}
    assert fetched(plain.url(scheme="https"), **hasty) in (Reason.TLS, Reason.TIMEOUT)
    assert fetched(mute.url(scheme="https"), **hasty) == Reason.TIMEOUT


@pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made by the openssl command")
def test_certificates_are_checked(host, fetched, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority(tmp_path)))
    allowed = AddressPolicy(allow_private=True)

    def served(number, context):
        return fetched(host(number, raw(OK + JPEG), context).url(scheme="https"), addresses=allowed)

    good, expired, wrong = (
        certificates.context(tmp_path, address, begins="200101000000Z", ends=ends)
        for address, ends in [
            ("127.0.7.210", "490101000000Z"),
            ("127.0.7.211", "210101000000Z"),
            ("127.0.7.9", "490101000000Z"),
        ]
    )
    assert served(210, good) == "arrives"
    assert served(211, expired) == Reason.TLS
    assert served(212, wrong) == Reason.TLS
    assert served(213, certificates.self_signed(tmp_path)) == Reason.TLS
