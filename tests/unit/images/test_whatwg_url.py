"""URLs parsed as browsers do: known pairs, and properties of all."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core.records import Reason
from ingest.core.redaction import redact
from ingest.images.urls import DownloadError, host
from ingest.images.whatwg_url import parse, to_ascii

BASE = "https://shop.example:8443/a/b.jpg?old=1"


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("http://h/grün.jpg", "http://h/gr%C3%BCn.jpg"),
        ("http://h/gr%C3%BCn.jpg", "http://h/gr%C3%BCn.jpg"),
        ("http://h/gr%c3%bcn.jpg", "http://h/gr%c3%bcn.jpg"),
        ("http://h/gr\udcfcn.jpg", "http://h/gr%FCn.jpg"),
        ("http://h/100%cotton%20x.jpg", "http://h/100%25cotton%20x.jpg"),
        ("http://h/a b.jpg?q=ä b#top", "http://h/a%20b.jpg?q=%C3%A4%20b"),
        ("http://h/a.jpg?back=\\b", "http://h/a.jpg?back=%5Cb"),
        ("http://h/[1]|{x}.jpg", "http://h/%5B1%5D%7C%7Bx%7D.jpg"),
        ("http://h?id=1", "http://h/?id=1"),
        ("http://h/a?", "http://h/a?"),
        ("http://h//a///b", "http://h//a///b"),
        ("http://h/a/./b/../c/%2E%2e/d/.", "http://h/a/d/"),
        ("http://h/../../a", "http://h/a"),
        ("HTTP://H.Example:80/A", "http://h.example/A"),
        ("https://h:443/a", "https://h/a"),
        ("https://h:80/a", "https://h:80/a"),
        ("http:\\\\h\\a.jpg", "http://h/a.jpg"),
        ("http:/h/a.jpg", "http://h/a.jpg"),
        ("\x00 http://h/a\t.j\npg \x1f", "http://h/a.jpg"),
        ("http://bücher.example/x", "http://xn--bcher-kva.example/x"),
        ("http://b%C3%BCcher.example/x", "http://xn--bcher-kva.example/x"),
        ("http://BÜCHER.example./x", "http://xn--bcher-kva.example./x"),
        ("http://faß.example/x", "http://xn--fa-hia.example/x"),
        ("http://☕.example/x", "http://xn--53h.example/x"),
        ("http://bü_cher。example/x", "http://xn--b_cher-3ya.example/x"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
    ],
)
def test_a_url_is_asked_for_as_a_browser_would(written, asked):
    assert str(parse(written)) == asked


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("/x.jpg", "https://shop.example:8443/x.jpg"),
        ("x.jpg", "https://shop.example:8443/a/x.jpg"),
        ("./../x.jpg", "https://shop.example:8443/x.jpg"),
        ("img\\x.jpg", "https://shop.example:8443/a/img/x.jpg"),
        ("grün.jpg?ä=ö", "https://shop.example:8443/a/gr%C3%BCn.jpg?%C3%A4=%C3%B6"),
        ("?new=2", "https://shop.example:8443/a/b.jpg?new=2"),
        ("?", "https://shop.example:8443/a/b.jpg?"),
        ("", "https://shop.example:8443/a/b.jpg?old=1"),
        ("#top", "https://shop.example:8443/a/b.jpg?old=1"),
        ("//cdn.example/x.jpg", "https://cdn.example/x.jpg"),
        ("/\\cdn.example/x.jpg", "https://cdn.example/x.jpg"),
        ("\\\\cdn.example\\x.jpg", "https://cdn.example/x.jpg"),
        ("http://cdn.example/x.jpg", "http://cdn.example/x.jpg"),
        ("https:/x.jpg", "https://shop.example:8443/x.jpg"),
        ("https:x.jpg", "https://shop.example:8443/a/x.jpg"),
        ("http:/cdn.example/x.jpg", "http://cdn.example/x.jpg"),
        ("http:cdn.example/x.jpg", "http://cdn.example/x.jpg"),
        ("12:30.jpg", "https://shop.example:8443/a/12:30.jpg"),
    ],
)
def test_a_reference_is_resolved_as_a_browser_would(location, asked):
    assert str(parse(location, parse(BASE))) == asked


@pytest.mark.parametrize(
    "text",
    ["", "x.jpg", "//h/x", "http://", "http:///x.jpg", "http:x.jpg", "http://[::1", "http://[1]/", "http://h:0/", "http://h:65536/",
     "http://h:x/", "http://a b/", "http://a%20b/", "http://a%00b/", "http://b\udcfccher/", "http://a^b/", "\ud800://h/",
     "http://h/\ud800", "ftp://h/x", "file:///etc/passwd", "data:image/png;base64,AAAA", "javascript:alert(1)"],
)  # fmt: skip
def test_a_url_that_cannot_be_requested_is_refused(text):
    with pytest.raises(DownloadError) as caught:
        parse(text)
    assert caught.value.reason == Reason.DISALLOWED
    assert caught.value.detail.isprintable()


def test_three_slashes_lead_to_no_other_host():
    with pytest.raises(DownloadError):
        parse("///evil.example/x.jpg", parse(BASE))


UNRESERVED = string.ascii_letters + string.digits + "._~-"
PATH = st.one_of(st.sampled_from(UNRESERVED + "!$&'()*+,;=:@"), st.from_regex(r"\A%[0-9A-Fa-f]{2}\Z"))
SEGMENT = st.lists(PATH, max_size=8).map("".join).filter(lambda s: s.lower().replace("%2e", ".") not in (".", ".."))
QUERY = st.lists(st.one_of(PATH, st.sampled_from("/?")), max_size=12).map("".join)


@given(
    st.sampled_from(["http", "https"]),
    st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z]{2,6}){0,2}\Z"),
    st.sampled_from(["", ":8080", ":1"]),
    st.lists(SEGMENT, min_size=1, max_size=4),
    st.one_of(st.just(""), QUERY.map("?{}".format)),
)
def test_a_valid_url_stays_byte_for_byte(scheme, name, port, segments, query):
    url = f"{scheme}://{name}{port}/{'/'.join(segments)}{query}"
    assert str(parse(url)) == url
    assert str(parse(url, parse(BASE))) == url
    assert str(parse(url + "#fragment")) == url


@given(st.text(max_size=30), st.sampled_from(["http://h/", "http://h/?", "https://", "", "//", "/", "\\"]))
def test_whatever_is_written_becomes_ascii_that_stays_or_one_kind_of_error(text, before):
    try:
        url = parse(before + text, parse(BASE))
    except DownloadError:
        return
    assert str(url).isascii()
    assert str(url).isprintable()
    assert " " not in str(url)
    assert parse(str(url)) == parse(str(url), parse(BASE))
    assert str(parse(str(url))) == str(url)


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=20))
def test_the_server_reads_the_path_that_was_written(text):
    from urllib.parse import quote, unquote

    escaped = quote(text, safe="")
    assert unquote(parse(f"http://h/x{escaped}").target) == f"/x{text}"


@pytest.mark.parametrize("before", ["http://", "http:\\\\", "http:/", "http:", "https:////", " http://"])
def test_no_way_of_writing_a_url_shows_its_password(before):
    url = f"{before}me:s3cret@h.example/a.jpg?token=s3cret#s3cret"
    assert redact(url).endswith("h.example/a.jpg")
    assert "s3cret" not in redact(url)
    assert host(url) == "h.example"


@pytest.mark.parametrize(
    "path", ["a.jpg", "C:\\img\\a.jpg", "c:/img/a.jpg", "12:30.jpg", "//h/a.jpg", "data:image/png,x"]
)
def test_a_path_has_no_host(path):
    assert host(path) == ""


def test_host_names_of_the_settings_have_the_same_form():
    assert to_ascii("Bücher.example") == "xn--bcher-kva.example"
    assert to_ascii("*.example") == "*.example"
    assert to_ascii("a b") == "a b"
