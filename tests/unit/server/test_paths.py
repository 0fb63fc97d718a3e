"""Encoded slashes belong to ids, and every id comes back as it was sent."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.server.paths import decode, routing_path

IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.text("%2F/5a.", min_size=1)


@given(IDS, IDS)
def test_an_encoded_id_is_one_segment_and_decodes_to_itself(one: str, other: str) -> None:
    path = routing_path(f"/v1/products/{quote(one, safe='')}/similar/{quote(other, safe='')}".encode())

    _, _, _, first, action, second = path.split("/")
    assert (decode(first), action, decode(second)) == (one, "similar", other)


@given(IDS)
def test_an_unencoded_slash_separates_and_means_a_slash(one: str) -> None:
    assert decode(routing_path(quote(one).encode())) == one


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/v1/search", "/v1/search"), (b"/%76%31/search", "/v1/search"), (b"/v1%2Fsearch", "/v1%2Fsearch"),
        (b"/v1%2fsearch", "/v1%2Fsearch"), (b"/%25", "/%25"), (b"/%2525", "/%2525"), (b"/a%", "/a%25"),
        (b"/%C3%BC", "/ü"),
    ],
)  # fmt: skip
def test_other_characters_are_decoded(raw: bytes, path: str) -> None:
    assert routing_path(raw) == path


@pytest.mark.parametrize("raw", [b"/%FF", b"/%C3", b"/a/%ED%A0%80"])
def test_what_is_no_utf8_is_no_path(raw: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        routing_path(raw)
