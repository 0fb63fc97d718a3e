"""Targets of redirects and catalog URLs, against a real server that writes its headers as bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.http_server import Answer, Server

from ingest.core.records import Reason
from ingest.images.http.downloader import Downloader
from ingest.images.http.headers import HostHeaders
from ingest.images.urls import DownloadError
from ingest.images.whatwg_url import parse


def redirect(location):
    """Answer with a redirect whose Location has these very bytes."""
    content = location.encode() if isinstance(location, str) else location
    return Answer(status=302, headers={"Location": content.decode("latin-1")})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "image"


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("/grün.jpg", "/gr%C3%BCn.jpg"),
        ("/Å х…\x85.jpg", "/%C3%85%20%D1%85%E2%80%A6%C2%85.jpg"),
        ("/grün.jpg".encode("latin-1"), "/gr%FCn.jpg"),
        ("/ü".encode("latin-1") + "ü.jpg".encode(), "/%FC%C3%BC.jpg"),
        ("/gr%C3%BCn.jpg", "/gr%C3%BCn.jpg"),
        ("/gr%c3%bcn%2fx.jpg?sig=a%2Fb%3d", "/gr%c3%bcn%2fx.jpg?sig=a%2Fb%3d"),
        ("/gr%C3%BCn-ü.jpg", "/gr%C3%BCn-%C3%BC.jpg"),
        ("/100%-%20ü.jpg", "/100%25-%20%C3%BC.jpg"),
        ("grün.jpg", "/shop/gr%C3%BCn.jpg"),
        ("./../grün.jpg", "/gr%C3%BCn.jpg"),
        ("?größe=ä b", "/shop/a.jpg?gr%C3%B6%C3%9Fe=%C3%A4%20b"),
        ("/x.jpg?größe=l#ünten", "/x.jpg?gr%C3%B6%C3%9Fe=l"),
        (" \t/with space.jpg \t", "/with%20space.jpg"),
        ("\\shop\\grün.jpg", "/shop/gr%C3%BCn.jpg"),
        ("//{at}/grün.jpg", "/gr%C3%BCn.jpg"),
        ("\\\\{at}\\grün.jpg", "/gr%C3%BCn.jpg"),
        ("http://{at}/grün.jpg?q=ü", "/gr%C3%BCn.jpg?q=%C3%BC"),
        ("HTTP:\\\\{at}/x.jpg", "/x.jpg"),
        ("http://\uff4c\uff4f\uff43\uff41lhost:{port}/x.jpg", "/x.jpg"),
        ("http://loc%61lhost:{port}/x.jpg", "/x.jpg"),
    ],
)
def test_a_redirect_asks_for_what_a_browser_would(server, downloader, path, jpeg, location, asked):
    at = server.url("")[7:]
    if isinstance(location, str):
        location = location.replace("{at}", at).replace("{port}", at.partition(":")[2])
    url = server.serve("/shop/a.jpg", redirect(location), Answer(jpeg))
    if asked.partition("?")[0] != "/shop/a.jpg":
        server.serve(asked, Answer(jpeg))
    assert downloader.fetch(url, path).size == len(jpeg)
    assert [got for got, _ in server.requests] == ["/shop/a.jpg", asked]


def test_each_redirect_of_a_chain_is_resolved_from_the_one_before(server, downloader, path, jpeg):
    url = server.serve("/a", redirect("/ä/b?x=1"))
    server.serve("/%C3%A4/b", redirect("ö".encode("latin-1")))
    server.serve("/%C3%A4/%F6", redirect("?y=é"), redirect("ü/../ß#top"))
    server.serve("/%C3%A4/%C3%9F", Answer(jpeg))
    assert downloader.fetch(url, path).size == len(jpeg)
    assert [got for got, _ in server.requests] == [
        "/a", "/%C3%A4/b?x=1", "/%C3%A4/%F6", "/%C3%A4/%F6?y=%C3%A9", "/%C3%A4/%C3%9F"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("/grün.jpg", "/gr%C3%BCn.jpg"),
        ("/gr%c3%bcn.jpg", "/gr%c3%bcn.jpg"),
        ("/100%-%20x.jpg", "/100%25-%20x.jpg"),
        ("\\grün\\x.jpg", "/gr%C3%BCn/x.jpg"),
        ("/a.jpg?sig=%2f+%3D/?'&", "/a.jpg?sig=%2f+%3D/?'&"),
        ("/a///b.jpg?", "/a///b.jpg?"),
        ("/./a b.jpg#x", "/a%20b.jpg"),
    ],
)
def test_a_catalogs_url_is_asked_for_as_a_browser_would(server, downloader, path, jpeg, written, asked):
    server.serve(asked, Answer(jpeg))
    assert downloader.fetch(server.url(written), path).size == len(jpeg)
    assert server.requests[0][0] == asked


def test_a_redirect_to_a_host_with_an_umlaut_looks_up_its_name_in_ascii(server, downloader, path):
    url = server.serve("/a", redirect("http://bücher.invalid/x.jpg"))
    with pytest.raises(DownloadError) as caught:
        downloader.fetch(url, path)
    assert caught.value.reason == Reason.DNS
    assert caught.value.detail.startswith("http://xn--bcher-kva.invalid/x.jpg: ")


def test_an_error_shows_a_catalogs_url_as_it_is_written(downloader, path):
    with pytest.raises(DownloadError) as caught:
        downloader.fetch("http://bücher.invalid/grün.jpg?key=s3cret", path)
    assert caught.value.reason == Reason.DNS
    assert caught.value.detail.startswith("http://bücher.invalid/grün.jpg: ")


@pytest.mark.parametrize(("second", "arrives"), [("/b.jpg", True), ("/c.jpg", False)])
def test_two_locations_must_be_the_same(server, downloader, path, jpeg, second, arrives):
    server.serve("/b.jpg", Answer(jpeg))
    url = server.serve("/a", Answer(status=302, headers={"Location": "/b.jpg", "location": second}))
    if arrives:
        assert downloader.fetch(url, path).size == len(jpeg)
        return
    with pytest.raises(DownloadError, match="several addresses") as caught:
        downloader.fetch(url, path)
    assert caught.value.reason == Reason.BAD_ANSWER


def test_headers_of_a_bare_host_go_to_no_plain_http_and_a_line_says_so_once(server, downloader, path, jpeg, caplog):
    host = server.url("")[7:].partition(":")[0]
    headers = HostHeaders({("https", host, 443): {"X-Key": "s3cret"}})
    bare = Downloader(replace(downloader.policy, host_headers=headers))
    with bare:
        for name in ("/a", "/b"):
            bare.fetch(server.serve(name, Answer(jpeg)), path)
        with pytest.raises(DownloadError, match=rf'answered 403; .*add \["{server.url("")}"\]'):
            bare.fetch(server.serve("/c", Answer(status=403)), path)
    assert all("X-Key" not in sent for _, sent in server.requests)
    assert [record.message.count("s3cret") for record in caplog.records] == [0]
    assert f"were not sent to {server.url('')}" in caplog.text


def test_headers_of_an_origin_do_not_follow_a_redirect_to_another_port(server, downloader, path, jpeg):
    other = Server()
    try:
        target = other.serve("/b", Answer(jpeg))
        url = server.serve("/a", redirect(target))
        origins = [parse(server.url("/a")).origin, parse(target).origin]
        headers = HostHeaders({origin: {"X-Key": "s3cret"} for origin in origins})
        with Downloader(replace(downloader.policy, host_headers=headers)) as sending:
            assert sending.fetch(url, path).size == len(jpeg)
        assert server.requests[0][1]["X-Key"] == "s3cret"
        assert "X-Key" not in other.requests[0][1]
    finally:
        other.stop()
