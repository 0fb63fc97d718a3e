"""CSV and TSV, record by record: a damaged line is one broken record, and reading continues with the next line."""

from __future__ import annotations

import csv
import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ingest.catalog.rows import MAX_ROW, TOO_LONG
from ingest.catalog.text_lines import OverlongLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_NOT_CLOSED = 'a quoted cell is not closed: a " is missing, or one inside the cell is not doubled ("")'
_ESCAPED = re.compile(r"\\.", re.DOTALL)
_NOT_DOUBLED = 'a " inside a quoted cell is not doubled ("")'


class CsvRecord(NamedTuple):
    """A record and the line where it begins; if it has a `fault`, its cells are those before the first quote.

    `lines` is how many lines it spans, and `inner` those after its first that alone have as many cells as the header:
    (number, cells). If a quote is missing these may be rows of their own.
    """

    line: int
    cells: list[str]
    fault: str = ""
    lines: int = 1
    inner: tuple[tuple[int, list[str]], ...] = ()


class _ReplayableLines:
    """Lines; those of the current record are held, and the last of them can be put back."""

    def __init__(self, lines: Iterable[str], escape: Callable[[str], str] | None) -> None:
        self._lines = iter(lines)
        self._escape = escape
        self._again: list[str] = []
        self.held: list[str] = []
        self.line = 1  # the number of the first one held
        self._room = MAX_ROW  # characters, so that a quote that is never closed does not fill the memory

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._lines)
        self.held.append(line)
        self._room -= len(line)
        if self._room < 0 and len(self.held) > 1:
            raise csv.Error(TOO_LONG)
        if type(line) is str:
            return line if self._escape is None else self._escape(line)
        return line.partition('"')[0]

    def release(self) -> None:
        """Forget the lines of a record that is finished."""
        self.line += len(self.held)
        self.held.clear()
        self._room = MAX_ROW

    def put_last_back(self) -> None:
        self._again.append(self.held.pop())


class Syntax(NamedTuple):
    """How cells are written: what is between them, and whether a backslash says that a quote is a part of a cell.

    Before a quote, a delimiter, a line end or a backslash, a backslash is left out; before anything else it is kept.
    """

    delimiter: str = ","
    has_backslashes: bool = False

    def reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Return Python's own reader for lines that `escape` returned."""
        escape = "\\" if self.has_backslashes else None
        return csv.reader(lines, delimiter=self.delimiter, escapechar=escape, strict=True)

    @property
    def escape(self) -> Callable[[str], str] | None:
        """The function that doubles backslashes which Python's reader would leave out; None if none would be."""
        return partial(_double_others, self.delimiter) if self.has_backslashes else None

    def quotes(self, text: str) -> int:
        """Return how many quotes begin or end a cell."""
        return (_ESCAPED.sub("", text) if self.has_backslashes else text).count('"')


def records(lines: Iterable[str], syntax: Syntax, skip: int = 0) -> Iterator[CsvRecord]:
    """Yield the records of a file that are not blank, the header first; nothing after a broken header.

    What RFC 4180 allows is read as `csv` reads it. If a quote is not closed, or a quote inside a quoted cell is not
    doubled, the line where that record begins is a broken record, and the lines that the open quote has swallowed are
    read again, each as a record. The same happens to a record with an odd number of quotes, or with more or fewer cells
    than the header, if one of its later lines alone has as many cells as the header. Left out are records equal to the
    header, which concatenated files repeat, and empty cells beyond the header's. No line is read more than three times.
    A record of more than `MAX_ROW` characters is broken. The first `skip` lines are counted, and not read.
    """
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW))
    source = _ReplayableLines(lines, syntax.escape)
    for _ in range(skip):
        next(source, None)
    header = next((record for record in _read(source, syntax, 0) if not _is_blank(record)), None)
    if header is None:
        return
    yield header
    if header.fault:
        return
    width, names = len(header.cells), list(map(_bare, header.cells))
    for record in _read(source, syntax, width):
        _, cells, fault, *_ = record
        if fault or (1 < len(cells) <= width and names[-1] not in cells[-1]):  # nearly all records
            yield record
        elif len(cells) > width:
            yield record._replace(cells=_trim(cells, width))
        elif not _is_blank(record) and list(map(_bare, cells)) != names:
            yield record


def _read(source: _ReplayableLines, syntax: Syntax, width: int) -> Iterator[CsvRecord]:
    reader = syntax.reader(source)
    held = source.held
    while True:
        source.release()
        cells, error = _next(reader)
        if len(held) == 1 and not error and type(held[0]) is str:
            yield CsvRecord(source.line, cells)
            continue
        if not held:
            return
        first, *others = held
        error = error or TOO_LONG * any(isinstance(text, OverlongLine) for text in held)
        if others and (error or _has_swallowed(cells, held, syntax, width)):
            # The lines in between are read alone: a record that begins in one of them and is not closed there would
            # continue to the last one, as this one did. So the time is linear. The last one may begin a longer record.
            source.put_last_back()
            yield _broken(source.line, first, syntax, _NOT_CLOSED)
            for line, text in enumerate(others[:-1], source.line + 1):
                yield _record(line, text, *_read_alone(text, syntax), syntax)
        elif error or not others:
            yield _record(source.line, first, cells, error, syntax)
        else:
            yield CsvRecord(source.line, cells, "", len(held), tuple(_inner(others, source.line + 1, syntax, width)))


def _next(reader: Iterator[list[str]]) -> tuple[list[str], str]:
    """Return the next record's cells, [] at the end, and what is wrong with it."""
    try:
        return next(reader, []), ""
    except csv.Error as error:
        return [], str(error)


def _read_alone(text: str, syntax: Syntax) -> tuple[list[str], str]:
    if isinstance(text, OverlongLine):
        return [], TOO_LONG
    return _next(syntax.reader([syntax.escape(text) if syntax.escape else text]))


def _inner(lines: list[str], number: int, syntax: Syntax, width: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines, numbered from `number`, that alone have `width` cells, more than one."""
    for at, text in enumerate(lines, number):
        if text.count(syntax.delimiter) >= width - 1 > 0:
            cells = _trim(_read_alone(text, syntax)[0], width)
            if len(cells) == width:
                yield at, cells


def _has_swallowed(cells: list[str], held: list[str], syntax: Syntax, width: int) -> bool:
    """Return whether an unusual record has a line, after its first, that alone is a complete record."""
    odd = sum(map(syntax.quotes, held)) % 2
    if not width or (len(_trim(cells, width)) == width and not odd):
        return False
    return any(len(_trim(_read_alone(text, syntax)[0], width)) == width for text in held[1:])


def _record(line: int, text: str, cells: list[str], error: str, syntax: Syntax) -> CsvRecord:
    if not error:
        return CsvRecord(line, cells)
    fault = _NOT_DOUBLED if "expected after" in error else _NOT_CLOSED if "end of data" in error else error
    return _broken(line, text, syntax, fault)


def _broken(line: int, text: str, syntax: Syntax, fault: str) -> CsvRecord:
    """Return a broken record with the cells that are certain: those before its first quote or escape."""
    certain = text.partition('"')[0]
    if syntax.has_backslashes:
        certain = certain.partition("\\")[0]
    cells = certain.split(syntax.delimiter)[:-1]
    is_escaped = '\\"' in text and not syntax.has_backslashes
    escapes = r"; if \" is a quote within a cell, pass --quotes backslash" if is_escaped else ""
    return CsvRecord(line, cells, fault + escapes)


def _double_others(delimiter: str, line: str) -> str:
    """Double the backslashes of a line that stand before an ordinary character, as in a path of Windows."""
    if "\\" not in line:
        return line
    kept = ("\\", '"', "\n", "\r", delimiter)
    return _ESCAPED.sub(lambda found: found.group() if found.group()[1] in kept else "\\" + found.group(), line)


def _is_blank(record: CsvRecord) -> bool:
    cells = record.cells
    return len(cells) < 2 and not record.fault and not "".join(cells).strip()


def _trim(cells: list[str], width: int) -> list[str]:
    """Return cells without those beyond the header's if they are all empty: some programs end each row with a comma."""
    return cells if any(map(str.strip, cells[width:])) else cells[:width]


def _bare(cell: str) -> str:
    """Return a column's name without what concatenating files leaves around it, such as a byte order mark."""
    return cell.strip(' \t\r\n"\ufeff')
