"""Rows as their file has them, in blocks of columns, before anything is validated."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ingest.catalog.casting import display
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.catalog.base import CatalogFile

MAX_ROW = 16 << 20
"""Characters of text, or bytes of Parquet's values, that a row may have; a longer one is skipped."""
TOO_LONG = f"the row is longer than {MAX_ROW >> 20} MiB"

_NAMED = 20  # columns that a message lists
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ",": "commas"}


@dataclass(frozen=True, slots=True)
class Columns:
    """The catalog's own names of the id column and the image column."""

    product_id: str = "product_id"
    image: str = "image"


class FileRow(NamedTuple):
    """A row as its file has it; `fault` says why it is not a row at all, whatever its cells hold.

    `doubt` says why it may have swallowed other rows.
    """

    line: int
    cells: dict[str, Any]
    fault: str = ""
    doubt: str = ""


class RowBlock(NamedTuple):
    """Consecutive rows of a file, by columns, with None if a row has no such cell; `faults`, `doubts` by position."""

    lines: list[int]
    columns: Mapping[str, Sequence[Any]]
    faults: dict[int, str]
    doubts: Mapping[int, str] = MappingProxyType({})

    def column(self, name: str) -> Sequence[Any]:
        """Return the cells of a column, all None if the file does not have it."""
        return self.columns.get(name) or [None] * len(self.lines)

    def row(self, at: int) -> FileRow:
        """Return the row at a position."""
        cells = {name: column[at] for name, column in self.columns.items()}
        return FileRow(self.lines[at], cells, self.faults.get(at, ""), self.doubts.get(at, ""))


def check_columns(names: list[str], file: CatalogFile, columns: Columns) -> None:
    """Raise CatalogError if two columns have one name, or the id column or the image column is missing."""
    seen: set[str] = set()
    for name in filter(None, names):  # spreadsheets write empty columns; a column without a name is dropped
        if name in seen:
            raise CatalogError(f"{file}: two columns are called {display(name)}; rename one")
        seen.add(name)
    for option, name in (("--id-column", columns.product_id), ("--image-column", columns.image)):
        if name not in seen:
            existing = ", ".join(map(display, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")
            fix = _explain_separator(names) or f"the columns are {existing}; choose one with {option} NAME"
            raise CatalogError(f"{file}: no column {display(name)}; {fix}")


def _explain_separator(names: list[str]) -> str:
    """Say which separator the file seems to have instead of its own, if its header is a single name; else ""."""
    found = next((separator for separator in _SEPARATORS if len(names) == 1 and separator in names[0]), "")
    return found and (
        f"{display(names[0])} is one column: the file seems to be separated by {_SEPARATORS[found]}; write "
        "a .csv with commas, or a .tsv with tabs"
    )
