"""How a catalog is written: what the settings say about it, and what this process has found out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ingest.catalog.unpacked_images import FOLDER
from ingest.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from ingest.catalog.profile import CatalogProfile
    from ingest.core.settings import Settings

AUTO = "auto"
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""Words for delimiters, which a shell does not interpret."""
_NAMES = {delimiter: name for name, delimiter in DELIMITERS.items()}


@dataclass(slots=True)
class Memory:
    """What one process has found out about a catalog, so that each of its passes reads it the same way.

    `dialects` are by file and version, `renames` are a feed's own names and ours, `signs` the decimal signs by column,
    and `said` what users have been told.
    """

    dialects: dict[Hashable, Any] = field(default_factory=dict)
    renames: dict[str, str] = field(default_factory=dict)
    signs: dict[str, str] | None = None
    said: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How the settings say that a catalog is written; "" for what is to be recognised.

    `delimiter` is one character, `encoding` a codec of Python's, `quotes` is doubled or backslash, `decimal` point or
    comma. `variants` makes each variant of a shop's product a product. `last` is the profile of the catalog when it was
    last read: it decides where the files allow two readings. Images inside the catalog are written to `unpack_to`.
    """

    format: str = ""
    delimiter: str = ""
    encoding: str = ""
    quotes: str = ""
    decimal: str = ""
    variants: bool = False
    last: CatalogProfile | None = None
    unpack_to: Path | None = None
    memory: Memory = field(default_factory=Memory, compare=False, repr=False)

    @classmethod
    def of(cls, settings: Settings, last: CatalogProfile | None = None) -> ReadOptions:
        """Return what the settings say; raises ConfigError for a value that they do not have."""
        values: dict[str, Any] = {
            key: "" if getattr(settings, key) == AUTO else str(getattr(settings, key))
            for key in ("format", "delimiter", "encoding", "quotes", "decimal")
        }
        values["delimiter"] = DELIMITERS.get(values["delimiter"], values["delimiter"])
        if len(values["delimiter"]) > 1 or values["delimiter"] in ('"', "\n", "\r"):
            raise ConfigError(f"--delimiter {values['delimiter']}: is not one character; pass {', '.join(DELIMITERS)}")
        if values["encoding"] and not _is_encoding(values["encoding"]):
            raise ConfigError(f"--encoding {values['encoding']}: is not known; pass one such as windows-1252 or utf-8")
        return cls(variants=settings.variants, last=last, unpack_to=settings.data / FOLDER, **values)


def flag_of(delimiter: str) -> str:
    """Return the flag that sets a delimiter."""
    return f"--delimiter {_NAMES.get(delimiter, delimiter)}"


def _is_encoding(name: str) -> bool:
    try:
        "a".encode(name)
    except (LookupError, ValueError):
        return False
    return True
