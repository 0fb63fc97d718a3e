"""Rows as their file has them, in blocks of columns, before anything is validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ingest.catalog.casting import display
from ingest.catalog.options import ReadOptions
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.profile import CatalogProfile
    from ingest.core.settings import Settings

MAX_ROW = 16 << 20
"""Characters of text, or bytes of Parquet's values, that a row may have; a longer one is skipped."""
TOO_LONG = f"the row is longer than {MAX_ROW >> 20} MiB"

DEFAULT_ID, DEFAULT_IMAGE = "product_id", "image"
"""The names of the two columns, unless others are given."""
_NAMED = 20  # columns that a message lists


@dataclass(frozen=True, slots=True)
class Columns:
    """The catalog's own names of the id column and the image column, and how its files are written.

    Unless they `are_known`, a file without them is read as well: they are being looked for. `more_images` are the
    columns of [images] in the schema.
    """

    product_id: str = DEFAULT_ID
    image: str = DEFAULT_IMAGE
    options: ReadOptions = field(default_factory=ReadOptions)
    are_known: bool = True
    more_images: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings, last: CatalogProfile | None = None) -> Columns:
        """Return what the settings say; `last` is the catalog's profile when it was last read."""
        return cls(settings.id_column, settings.image_column, ReadOptions.of(settings, last))

    @property
    def are_default(self) -> bool:
        """Whether nobody has named the columns, so that those of a known format may be meant."""
        return (self.product_id, self.image) == (DEFAULT_ID, DEFAULT_IMAGE)


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
    if not columns.are_known:
        return
    for option, name in (("--id-column", columns.product_id), ("--image-column", columns.image)):
        if name not in seen:
            existing = ", ".join(map(display, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")
            raise CatalogError(
                f"{file}: no column {display(name)}; the columns are {existing}; choose one with {option} NAME, "
                "or have ingest init find it"
            )
