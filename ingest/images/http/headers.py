"""HTTP headers per origin, from a TOML file. Its values may name environment variables, so that it holds no secrets."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.core.errors import ConfigError
from ingest.core.redaction import redact
from ingest.images.urls import DownloadError
from ingest.images.whatwg_url import Url, parse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2: a token
_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]*")
_HOST = re.compile(r"(?:(https?)://)?(\[[0-9a-f:.]+\]|[^:/?#@\\\[\]\s]+)(:[0-9]+)?/?", re.IGNORECASE)

Origin = tuple[str, str, int]
"""Scheme, host and port, as `Url.origin` has them."""


@dataclass(frozen=True, slots=True)
class HostHeaders:
    """Header names and values by origin; never shown."""

    by_origin: Mapping[Origin, Mapping[str, str]] = field(default_factory=dict, repr=False)

    def get(self, url: Url) -> Mapping[str, str]:
        """Return the headers for the origin of `url`, which no other origin gets."""
        return self.by_origin.get(url.origin, {})

    def withheld(self, url: Url) -> str:
        """Say that the host of `url` has headers, but not for its scheme and port; "" if that is not so."""
        scheme, host, port = url.origin
        others = [origin for origin in self.by_origin if origin[1] == host]
        if url.origin in self.by_origin or not others:
            return ""
        there = ", ".join(sorted(_show(origin) for origin in others))
        name = _show((scheme, host, port))
        return (
            f'the headers in --host-headers are for {there} and were not sent to {name}; if they may be, add ["{name}"]'
        )


def read(path: Path) -> HostHeaders:
    """Read a TOML file with a table for each origin: `["cdn.example.com"]`, `Authorization = "Bearer ${CDN_TOKEN}"`.

    A name is `scheme://host:port`; a host alone means https on port 443. Raises ConfigError that names the host and the
    header, never a value.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); correct --host-headers") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}; see https://toml.io for the syntax") from error
    by_origin: dict[Origin, Mapping[str, str]] = {}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f'{path}: {name} is outside of a table; write ["host.name"] above it')
        headers = {header: _value(path, redact(name), header, value) for header, value in table.items()}
        origin = _origin(path, name)
        if origin in by_origin:
            raise ConfigError(f"{path}: two tables are for {_show(origin)}; put their headers into one")
        by_origin[origin] = headers
    return HostHeaders(by_origin)


def _origin(path: Path, name: str) -> Origin:
    """Return the origin that a table's name means."""
    match = _HOST.fullmatch(name.strip())
    if match is None:
        raise ConfigError(
            f'{path}: {redact(name)} is not a host or an origin; write ["cdn.example.com"] or ["http://img.lan:8080"]'
        )
    scheme, host, port = match.groups()
    if port and not scheme:
        raise ConfigError(f'{path}: {name} has a port and no scheme; write ["https://{name}"] or ["http://{name}"]')
    try:
        return parse(f"{scheme or 'https'}://{host}{port or ''}").origin
    except DownloadError as error:
        raise ConfigError(f"{path}: {redact(name)} is not a valid host; correct the table's name") from error


def _show(origin: Origin) -> str:
    scheme, host, port = origin
    return f"{scheme}://{host}" + ("" if port == {"http": 80, "https": 443}[scheme] else f":{port}")


def _value(path: Path, host: str, name: str, value: object) -> str:
    place = f"{path}, host {host}, header {name}"
    if not isinstance(value, str):
        raise ConfigError(f"{place}: must be text in quotes; put a name with a dot in quotes too")

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(f"{place}: the environment variable {match[1]} is not set; set it")
        return os.environ[match[1]]

    filled = _VARIABLE.sub(variable, value)
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(filled):
        raise ConfigError(f"{place}: not a valid header; remove line breaks and characters outside of Latin-1")
    return filled
