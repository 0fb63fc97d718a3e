"""Headers for single hosts."""

from __future__ import annotations

import pytest

from ingest.core.errors import ConfigError
from ingest.images.http.headers import read


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
    assert headers.get("cdn.example.com") == {"Authorization": "Bearer s3cret", "X-Shop": "7"}
    assert headers.get("example.com") == {}
    assert "s3cret" not in repr(headers)


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
