"""Cookies of one chain of redirects, to the hosts that they are for."""

from __future__ import annotations

import pytest
from support.http_server import Answer
from urllib3 import HTTPHeaderDict

from ingest.images.http.cookies import ChainCookies
from ingest.images.whatwg_url import parse


class Response:
    def __init__(self, *cookies):
        self.headers = HTTPHeaderDict()
        for cookie in cookies:
            self.headers.add("Set-Cookie", cookie)


def sent(cookies, url, headers=None):
    return cookies.add_to(headers or {}, parse(url)).get("Cookie")


def test_a_server_that_redirects_until_its_cookie_comes_back_gives_the_image(server, downloader, tmp_path, jpeg):
    url = server.serve(
        "/a", Answer(status=302, headers={"Location": "/a", "Set-Cookie": "seen=1; Path=/"}), Answer(jpeg)
    )
    assert downloader.fetch(url, tmp_path / "image").size == len(jpeg)
    assert server.requests[1][1]["Cookie"] == "seen=1"


@pytest.mark.parametrize(
    ("cookie", "url", "expected"),
    [
        ("a=1", "https://img.shop.example/b", "a=1"),
        ("a=1; Path=/c", "https://img.shop.example/b", None),
        ("a=1", "https://other.example/b", None),
        ("a=1; Domain=shop.example", "https://cdn.shop.example/b", "a=1"),
        ("a=1; Domain=other.example", "https://other.example/b", None),
        ("a=1; Secure", "http://img.shop.example/b", None),
        ("a=1; Max-Age=0", "https://img.shop.example/b", None),
        ("nonsense", "https://img.shop.example/b", "nonsense"),
    ],
)
def test_a_cookie_goes_only_where_it_belongs(cookie, url, expected):
    cookies = ChainCookies()
    cookies.keep(parse("https://img.shop.example/a"), Response(cookie))
    assert sent(cookies, url) == expected


def test_cookies_of_the_users_own_headers_are_kept(server):
    cookies, url = ChainCookies(), "https://shop.example/a"
    assert sent(cookies, url, {"Cookie": "own=1"}) == "own=1"
    cookies.keep(parse(url), Response("a=1", "b=2"))
    assert sent(cookies, url, {"Cookie": "own=1"}) == "own=1; a=1; b=2"
    cookies.keep(parse(url), Response(f"large={'x' * 9000}"))
    assert sent(cookies, url, {"Cookie": "own=1"}) == "own=1"
