"""Which URLs name the same image."""

from __future__ import annotations

import hashlib

import pytest

from ingest.core.redaction import redact
from ingest.images.urls import UrlKey, key, key_of_layout_2, same_path

URL = "https://Shop.example/a/b.jpg?v=1#top"
SAME_PATH = ["https://Shop.example/a/b.jpg", "HTTPS://Shop.example/a/b.jpg?v=2", "https://me:pw@Shop.example/a/b.jpg#x"]
OTHERS = [
    "https://shop.example/a/c.jpg?v=1",
    "http://Shop.example/a/b.jpg?v=1",
    "https://Shop.example:1/a/b.jpg",
    "a.jpg",
]


@pytest.mark.parametrize("other", [*SAME_PATH, *OTHERS])
def test_a_full_key_tells_any_two_urls_apart(other):
    assert UrlKey.FULL.matches(key(URL), URL)
    assert not UrlKey.FULL.matches(key(URL), other)


@pytest.mark.parametrize("other", SAME_PATH)
def test_a_path_key_ignores_user_query_and_fragment(other):
    assert UrlKey.PATH.matches(key(URL), other)
    assert same_path(key(URL), key(other))


@pytest.mark.parametrize("other", OTHERS)
def test_a_path_key_tells_other_paths_and_origins_apart(other):
    assert not UrlKey.PATH.matches(key(URL), other)
    assert not same_path(key(URL), key(other))


@pytest.mark.parametrize("url", [URL, *SAME_PATH, OTHERS[0]])
def test_the_key_of_layout_2_becomes_todays(url):
    assert key_of_layout_2(redact(url), hashlib.sha256(url.encode()).digest()) == key(url)


def test_a_url_that_layout_2_had_shortened_is_known_by_its_full_key_alone():
    url = f"https://shop.example/{'x' * 300}.jpg?v=1"
    made = key_of_layout_2(redact(url), hashlib.sha256(url.encode()).digest())
    assert UrlKey.PATH.matches(made, url)
    assert not UrlKey.PATH.matches(made, url.replace("v=1", "v=2"))
