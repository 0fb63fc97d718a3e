"""Who is let in: names, origins, tokens, and sizes."""

from __future__ import annotations

import asyncio

import pytest

from ingest.core.errors import ConfigError
from ingest.server.access import AccessGuard, AccessRules, check_token, is_loopback
from ingest.server.request_parsing import MAX_JSON_BYTES

OPEN = AccessRules(token="", hosts=frozenset(), origins=frozenset({"https://shop.example"}), max_image_bytes=10**6)


def send_request(rules: AccessRules, path: str = "/v1/contract", **headers: str | bytes) -> int:
    """Return the status of a request; 200 if it is passed on."""
    sent = []

    async def app(_scope, _receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    raw = [
        (name.replace("_", "-").encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
        for name, value in headers.items()
    ]
    scope = {"type": "http", "method": "GET", "path": path, "scheme": "http", "headers": raw, "query_string": b""}
    asyncio.run(AccessGuard(app, rules)(scope, receive, send))
    assert b"nosniff" in dict(sent[0]["headers"]).values()
    return sent[0]["status"]


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.168.0.4", False), ("shop.example", False), ("", False),
    ],
)  # fmt: skip
def test_only_loopback_is_this_machine(host, is_own) -> None:
    assert is_loopback(host) == is_own


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8900", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("LOCALHOST", 200),
        ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("localhost@evil.example", 421), ("", 421),
    ],
)  # fmt: skip
def test_a_host_name_made_to_resolve_to_loopback_is_refused(host, status) -> None:
    rules = AccessRules("", frozenset({"localhost", "127.0.0.1", "::1"}), frozenset(), 10**6)
    assert send_request(rules, host=host) == status
    assert send_request(rules, "/", host=host) == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://here"}, 200),
        ({"origin": "https://here"}, 200),
        ({"origin": "https://here:8443"}, 403),
        ({"origin": "https://shop.example"}, 200),
        ({"origin": "https://shop.example.evil"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "none"}, 200),
    ],
)
def test_pages_of_other_origins_are_refused_unless_allowed(headers, status) -> None:
    assert send_request(OPEN, host="here", **headers) == status
    assert send_request(OPEN, "/", host="here", **headers) == 200  # any site may link to the page


@pytest.mark.parametrize(
    ("sent", "status"),
    [("Bearer s3cret", 200), ("bearer s3cret", 200), ("Bearer s3cre", 401), ("Bearer ", 401), ("s3cret", 401),
     ("Basic s3cret", 401), ("Bearer s3cr\xe9t", 401)],
)  # fmt: skip
def test_only_the_token_is_accepted(sent, status) -> None:
    rules = AccessRules("s3cret", frozenset(), frozenset(), 10**6)
    assert send_request(rules, authorization=sent) == status
    assert send_request(rules, "/metrics", authorization=sent) == status
    assert send_request(rules, "/healthz", authorization=sent) == 200


@pytest.mark.parametrize("token", ["schlüssel", "à", "Übergröße ü", "ключ", "日本", "é\u00a0", "two words", "\udcfc"])
def test_a_token_with_any_letter_is_accepted_as_utf8_and_as_latin1(token: str) -> None:
    rules = AccessRules(token, frozenset(), frozenset(), 10**6)
    check_token(token)
    sent = [token.encode("utf-8", "surrogateescape")]
    if all(letter <= "\xff" for letter in token):
        sent.append(token.encode("latin-1"))
    for encoded in sent:
        assert send_request(rules, authorization=b"Bearer " + encoded) == 200
        assert send_request(rules, authorization=b"Bearer " + encoded[:-1]) == 401
        assert send_request(rules, authorization=b"Bearer " + encoded + b"\xa0") == 401
    assert send_request(rules, authorization=b"Bearer ?") == 401


@pytest.mark.parametrize("token", [" a", "a ", "\ta", "a\nb", "a\r\n", "a\0", "\x1b[0m", "a\x7f", " "])
def test_a_token_that_no_request_can_carry_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="--serve-token") as refused:
        check_token(token)
    assert token.strip() not in str(refused.value) or len(token.strip()) < 2


@pytest.mark.parametrize(
    ("kind", "length", "status"),
    [
        ("application/json", str(MAX_JSON_BYTES), 200), ("application/json", str(MAX_JSON_BYTES + 1), 413),
        ("multipart/form-data; boundary=x", str(10**6), 200), ("multipart/form-data; boundary=x", str(10**9), 413),
        ("application/json", "9" * 500, 413), ("application/json", "-1", 413), ("application/json", "x", 413),
    ],
)  # fmt: skip
def test_a_body_that_declares_it_is_too_large_is_not_read(kind, length, status) -> None:
    assert send_request(OPEN, content_type=kind, content_length=length) == status
