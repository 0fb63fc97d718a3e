"""HTTP headers per host, from a TOML file. Its values may name environment variables, so that it holds no secrets."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.core.errors import ConfigError
from ingest.images.whatwg_url import to_ascii

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2: a token
_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]*")


@dataclass(frozen=True, slots=True)
class HostHeaders:
    """Header names and values by host name in lower case; never shown."""

    by_host: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    def get(self, host: str) -> Mapping[str, str]:
        """Return the headers for `host`, which no other host gets."""
        return self.by_host.get(host.lower(), {})


def read(path: Path) -> HostHeaders:
    """Read a TOML file with a table for each host: `["cdn.example.com"]`, `Authorization = "Bearer ${CDN_TOKEN}"`.

    Raises ConfigError that names the host and the header, never a value.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); correct --host-headers") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}; see https://toml.io for the syntax") from error
    by_host = {}
    for host, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f'{path}: {host} is outside of a table; write ["host.name"] above it')
        by_host[to_ascii(host)] = {name: _value(path, host, name, value) for name, value in table.items()}
    return HostHeaders(by_host)


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
