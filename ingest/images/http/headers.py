"""Headers for single hosts, read from a file whose values may name environment variables, so it holds no secret."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.core.errors import ConfigError
from ingest.images.whatwg_url import in_ascii

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2: a token
_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]*")


@dataclass(frozen=True, slots=True)
class HostHeaders:
    """Header names and values by host, in lower case; never shown."""

    by_host: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    def of(self, host: str) -> Mapping[str, str]:
        """Return what is sent to `host`, and to it alone."""
        return self.by_host.get(host.lower(), {})


def read(path: Path) -> HostHeaders:
    """Read a TOML file with a table for each host: `["cdn.example.com"]`, `Authorization = "Bearer ${CDN_TOKEN}"`.

    Raises ConfigError naming the host and the header, never a value.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}); correct --host-headers") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}; see https://toml.io for how a table is written") from error
    by_host = {}
    for host, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f'{path}: {host} stands outside of a table; write ["host.name"] above it')
        by_host[in_ascii(host)] = {name: _value(path, host, name, value) for name, value in table.items()}
    return HostHeaders(by_host)


def _value(path: Path, host: str, name: str, value: object) -> str:
    place = f"{path}, host {host}, header {name}"
    if not isinstance(value, str):
        raise ConfigError(f"{place}: must be text in quotes; a name with a dot goes into quotes too")

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(f"{place}: the environment has no {match[1]}; set it")
        return os.environ[match[1]]

    filled = _VARIABLE.sub(variable, value)
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(filled):
        raise ConfigError(f"{place}: not a header that can be sent; no line breaks, no letters beyond Latin-1")
    return filled
