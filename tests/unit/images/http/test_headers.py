"""Headers for single hosts."""

from __future__ import annotations

import pytest

from ingest.core.errors import ConfigError
from ingest.images.http.headers import read
from ingest.images.whatwg_url import parse


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "hosts.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_host_has_its_headers_and_secrets_come_from_the_environment(written, monkeypatch):
    monkeypatch.setenv("CDN_TOKEN", "s3cret")
    headers = read(written('["CDN.example.com"]\nAuthorization = "Bearer ${CDN_TOKEN}"\nX-Shop = "7"\n'))
    assert headers.get(parse("https://cdn.example.com/a.jpg")) == {"Authorization": "Bearer s3cret", "X-Shop": "7"}
    assert headers.get(parse("https://example.com/a.jpg")) == {}
    assert "s3cret" not in repr(headers)


@pytest.mark.parametrize(
    ("name", "allowed", "others"),
    [
        ("img.lan", "https://img.lan", ["http://img.lan", "https://img.lan:8443", "http://img.lan:443"]),
        ("https://img.lan", "https://img.lan:443", ["http://img.lan", "https://img.lan:8443"]),
        ("http://IMG.lan:8080/", "http://img.lan:8080", ["http://img.lan", "https://img.lan:8080", "https://img.lan"]),
        ("http://img.lan", "http://img.lan:80", ["https://img.lan:80", "http://img.lan:8080", "https://img.lan"]),
        ("[::1]", "https://[::1]", ["http://[::1]"]),
        ("http://[::1]:81", "http://[::1]:81", ["http://[::1]"]),
        ("Bücher.example", "https://xn--bcher-kva.example", ["http://xn--bcher-kva.example"]),
    ],
)
def test_a_name_means_one_scheme_host_and_port(written, name, allowed, others):
    headers = read(written(f'["{name}"]\nX-Key = "s3cret"'))
    assert headers.get(parse(f"{allowed}/a.jpg")) == {"X-Key": "s3cret"}
    assert headers.withheld(parse(f"{allowed}/a.jpg")) == ""
    for other in others:
        assert headers.get(parse(f"{other}/a.jpg")) == {}, other
        assert f'add ["{other.removesuffix(":443") if other.startswith("https") else other}"]' in headers.withheld(
            parse(f"{other}/a.jpg")
        )
    assert headers.withheld(parse("https://elsewhere.example/a.jpg")) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "toml.io"),
        ('name = "x"', "outside of a table"),
        ('["h"]\nX = 1', "host h, header X: must be text"),
        ('[h.example]\nX = "s3cret"', "put a name with a dot in quotes"),
        ('["h"]\nX = "${NOT_THERE}"', "NOT_THERE is not set"),
        ('["h"]\nX = "s3cret\\r\\nY: 1"', "not a valid header"),
        ('["h"]\n"X Y" = "s3cret"', "not a valid header"),
        ('["img.lan:8080"]\nX = "s3cret"', r'write \["https://img.lan:8080"\] or \["http://img.lan:8080"\]'),
        ('["ftp://h"]\nX = "s3cret"', "not a host or an origin"),
        ('["http://me:s3cret@h"]\nX = "y"', "not a host or an origin"),
        ('["http://h/a?s3cret"]\nX = "y"', "not a host or an origin"),
        ('["h:99999"]\nX = "y"', "has a port and no scheme"),
        ('["http://h:99999"]\nX = "y"', "not a valid host"),
        ('["h"]\nX = "y"\n["https://H:443"]\nX = "s3cret"', "two tables are for https://h;"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_place_and_no_secret(written, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(written(text))
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="--host-headers"):
        read(tmp_path / "none.toml")
