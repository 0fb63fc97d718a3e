"""What one pass over a catalog shows besides its rows: its profile, and places where rows may be missing."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ingest.catalog.profile import MAX_COLUMNS, MAX_NAME, CatalogProfile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.text_lines import Lines

_COMMON = 0.9  # of the rows have a column that is not rare: JSON Lines leave out what a product lacks
_MAX_COUNTED = 2_000  # names of columns; a JSON Lines file may have any number
_USUAL = ("CSV", "TSV", "JSON Lines", "Parquet")
_MAX_INNER = 100_000  # ids of rows that may have been swallowed
_NAMED = 3  # places that a message names


class Places:
    """How many rows of a kind there are, and where the first of them are."""

    def __init__(self) -> None:
        self.count = 0
        self._first: list[str] = []

    def add(self, file: str, line: int, last: int = 0) -> None:
        """Add a row of a file, from `line` to its `last` line if it has several."""
        self.count += 1
        if len(self._first) < _NAMED:
            words = f"lines {line} to {last}" if last > line else f"line {line}"
            self._first.append(f"{words} of {file}" if file else words)

    def __str__(self) -> str:
        return ", ".join(self._first) + (", …" if self.count > len(self._first) else "")


class CatalogRecorder:
    """Filled by the readers of the formats during one pass; `profile` is known at the end of it.

    `cut` are rows in which a file ends, `short` rows with fewer cells than the header, and `swallowing` rows over
    several lines of which some alone are like rows: the ids of those are the keys of `inner`.
    """

    def __init__(self, last: CatalogProfile | None = None, *, accepts: bool = False) -> None:
        self.cut = Places()
        self.short = Places()
        self.swallowing = Places()
        self.inner: dict[str, None] = {}
        self.profile: CatalogProfile | None = None
        self._accepts = accepts
        self._expects_newline = last is not None and last.final_newline
        self._expects_short = last is not None and last.short_rows > 0
        self._names: Counter[str] = Counter()
        self._rows = 0
        self._kinds: set[str] = set()
        self._line_ends: set[str] = set()
        self._encodings: set[str] = set()
        self._all_ended = True

    def add_columns(self, names: Iterable[str], rows: int) -> None:
        """Count rows that have these columns."""
        for name in filter(None, names):
            name = name[:MAX_NAME]  # noqa: PLW2901
            if name in self._names or len(self._names) < _MAX_COUNTED:
                self._names[name] += rows

    def add_rows(self, rows: int) -> None:
        """Count rows of the catalog."""
        self._rows += rows

    def add_file(self, kind: str, lines: Lines | None = None) -> None:
        """Note a file's format and, of text that has been read to its end, how it is written."""
        self._kinds.add(kind)
        if lines is None or not lines.first:
            return
        self._encodings.add(lines.encoding.name)
        self._line_ends |= {lines.line_end} - {""}
        self._all_ended &= lines.is_ended

    def describe(self, file: CatalogFile) -> str:
        """Return how a file was recognised to be written, for people; "" for what its ending says and UTF-8."""
        kinds, encodings = " + ".join(sorted(self._kinds)), " + ".join(sorted(self._encodings))
        if kinds in _USUAL and encodings in ("", "UTF-8", "UTF-8 with a byte order mark"):
            return ""
        return f"{file}: read as {', '.join(filter(None, (kinds, encodings)))}"

    def add_inner(self, ids: Iterable[str]) -> None:
        """Note ids of lines inside a row that may be rows of their own."""
        for product_id in ids:
            if len(self.inner) < _MAX_INNER:
                self.inner[product_id] = None

    def cut_fault(self, *, is_ended: bool, is_short: bool) -> str:
        """Return why a file ends within its last row, or ""; never if the catalog is accepted as it is."""
        if self._accepts:
            return ""
        if not is_ended and self._expects_newline:
            return (
                "the file ends in this row: its last line has no line end, which it had when the catalog was last read"
            )
        if is_short and not (is_ended and self._expects_short):
            return "the file ends in this row: it has fewer cells than the header"
        return ""

    @property
    def has_new_short_rows(self) -> bool:
        """Whether rows are short, and none was when the catalog was last read."""
        return self.short.count > 0 and not self._expects_short

    def finish(self, id_column: str, decimals: Mapping[str, str]) -> None:
        """Make the profile of a catalog that has been read to its end; `decimals` are signs by column."""
        common = [name for name, rows in self._names.items() if rows >= _COMMON * self._rows]
        columns = tuple(common[:MAX_COLUMNS])
        self.profile = CatalogProfile(
            id_column=id_column,
            columns=columns,
            dialect=", ".join(filter(None, (" + ".join(sorted(self._kinds)), " + ".join(sorted(self._line_ends))))),
            encoding=" + ".join(sorted(self._encodings)),
            final_newline=bool(self._encodings) and self._all_ended,
            short_rows=self.short.count,
            rows=self._rows,
            read=datetime.now(UTC).date().isoformat(),
            rare=frozenset(self._names) - set(columns),
            decimals=dict(sorted(decimals.items())),
        )
