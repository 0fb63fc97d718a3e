"""How a file of delimited text is written: its delimiter and its quotes, proven by its header and its rows."""

from __future__ import annotations

import io
import re
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ingest.catalog import csv_parser, tables
from ingest.catalog.csv_parser import Syntax
from ingest.catalog.encoding import Encoding, examine
from ingest.catalog.options import DELIMITERS, flag_of
from ingest.catalog.text_lines import Lines
from ingest.core.errors import AmbiguousCatalogError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.catalog.rows import Columns
    from ingest.catalog.source import CatalogSource

_SAMPLE = 50  # records that must have as many cells as a header that names no known column
_SEPARATOR = re.compile(r'"?sep=(.)"?[\r\n]', re.IGNORECASE)
_NAMES = {",": "CSV", "\t": "TSV"}
_PARTS = re.compile(r", | \+ ")  # of what a profile says: `shopify, CSV with ;, LF`, `CSV + TSV, CR LF`


class Dialect(NamedTuple):
    """An encoding and a syntax; `skip` lines before the header are none of the table."""

    encoding: Encoding = Encoding()
    syntax: Syntax = Syntax()
    skip: int = 0

    @property
    def name(self) -> str:
        """How the dialect is called, in a catalog's profile and to users."""
        name = _NAMES.get(self.syntax.delimiter) or f"CSV with {self.syntax.delimiter}"
        return name + ' and \\"' * self.syntax.has_backslashes


def recognise(source: CatalogSource, usual: str, columns: Columns) -> Dialect:
    """Return how a file is written, as far as its columns prove it; `usual` is the delimiter of its ending.

    Files that name the columns with the usual delimiter are read so. Raises AmbiguousCatalogError if two delimiters or
    two code pages are possible.
    """
    options = columns.options
    facts = examine(source, options)
    head = source.head[facts.encoding.bom :].decode(facts.encoding.codec, "replace")
    marked = _SEPARATOR.match(head)
    head = head[marked.end() :] if marked else head
    if options.delimiter or marked:
        delimiter = options.delimiter or marked[1]  # type: ignore[index]
    else:
        delimiter = _delimiter(source, head, usual, columns)
    written = Dialect(facts.encoding, Syntax(delimiter, options.quotes == "backslash"), int(marked is not None))
    return _quotes(source, written, columns) if facts.has_escaped_quote and not options.quotes else written


def read_names(head: str, delimiter: str) -> list[str]:
    """Return the names of the columns in the first line that is not blank."""
    record = next(csv_parser.records(io.StringIO(head, newline=""), Syntax(delimiter)), None)
    return [] if record is None else [name.strip() for name in record.cells]


def _delimiter(source: CatalogSource, head: str, usual: str, columns: Columns) -> str:
    """Return the delimiter with which the header names the columns best."""
    delimiters = [usual, *(one for one in DELIMITERS.values() if one != usual)]
    headers = {one: read_names(head, one) for one in delimiters}
    fits = {one: tables.fit(names, columns) for one, names in headers.items()}
    best = max(fits.values())
    possible = [one for one in delimiters if fits[one] == best]
    if best == tables.EXACT and usual in possible:
        return usual
    if not best:
        width = max(map(len, headers.values()))
        regular = [one for one in delimiters if len(headers[one]) > 1 and _is_regular(head, one)]
        possible = regular if columns.are_default and regular else [
            one for one in delimiters if len(headers[one]) == width
        ][:1]  # fmt: skip
    if len(possible) == 1:
        return possible[0]
    before = _as_before([Dialect(syntax=Syntax(one)) for one in possible], columns)
    if before is not None:
        return before.syntax.delimiter
    one, other = possible[:2]
    raise AmbiguousCatalogError(
        f"{source}: has the columns {_list(headers[one])} with {one!r} between them and {_list(headers[other])} with "
        f"{other!r}; pass {flag_of(one)} or {flag_of(other)}"
    )


def _quotes(source: CatalogSource, written: Dialect, columns: Columns) -> Dialect:
    r"""Return the dialect with backslashes if no row is broken by it, and some are without: `\"` is in the text.

    Raises AmbiguousCatalogError if rows are broken by both, and fewer by backslashes.
    """
    escaping = written._replace(syntax=written.syntax._replace(has_backslashes=True))
    doubled, escaped = _count_broken(source, written), _count_broken(source, escaping)
    if doubled and not escaped:
        return escaping
    if escaped and escaped >= doubled:
        return written
    before = _as_before([written, escaping], columns)
    if before is not None:
        return before
    different = None if doubled else _find_different(source, written, escaping)
    if not doubled and different is None:
        return written
    if doubled:
        what = f"{doubled:,} rows are broken if that is no quote, and {escaped:,} if it is one"
    else:
        what = f"{different[1]!r} if that is a quote, and {different[0]!r} if it is not" if different else ""
    raise AmbiguousCatalogError(f'{source}: has \\" in a cell: {what}; pass --quotes backslash or --quotes doubled')


def _as_before(possible: Sequence[Dialect], columns: Columns) -> Dialect | None:
    """Return the dialect that the catalog's last profile says; None if that says none of them, or several."""
    said = _PARTS.split(columns.options.last.dialect) if columns.options.last else []
    found = [one for one in possible if one.name in said]
    return found[0] if len(found) == 1 else None


def _find_different(source: CatalogSource, one: Dialect, other: Dialect) -> tuple[str, str] | None:
    """Return the first cell that two dialects read differently, as each does; None if there is none."""
    with (
        source.open() as stream,
        source.open() as again,
        closing(Lines(stream, source.file, one.encoding)) as lines,
        closing(Lines(again, source.file, other.encoding)) as same_lines,
    ):
        records = csv_parser.records(lines, one.syntax, one.skip)
        others = csv_parser.records(same_lines, other.syntax, other.skip)
        pairs = (pair for record, two in zip(records, others, strict=False) if record.cells != two.cells
                 for pair in zip(record.cells, two.cells, strict=False))  # fmt: skip
        return next((pair for pair in pairs if pair[0] != pair[1]), None)


def _count_broken(source: CatalogSource, written: Dialect) -> int:
    """Return how many rows of a file are broken or have another number of cells than the header."""
    with source.open() as stream, closing(Lines(stream, source.file, written.encoding)) as lines:
        records = csv_parser.records(lines, written.syntax, written.skip)
        header = next(records, None)
        return 0 if header is None else sum(bool(one.fault) or len(one.cells) != len(header.cells) for one in records)


def _is_regular(head: str, delimiter: str) -> bool:
    """Return whether the first records all have as many cells as the header."""
    records = csv_parser.records(io.StringIO(head.rpartition("\n")[0] or head, newline=""), Syntax(delimiter))
    return len({len(record.cells) for record in islice(records, _SAMPLE)}) == 1


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:3])) + ", …" * (len(names) > 3)
