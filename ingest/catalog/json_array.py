"""JSON documents that are an array of objects, or an object with one, read as a stream."""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, NoReturn

from ingest.catalog import json_lines
from ingest.catalog.casting import display
from ingest.catalog.encoding import examine
from ingest.catalog.row_blocks import blocks_of
from ingest.catalog.rows import MAX_ROW, FileRow
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.recorder import CatalogRecorder
    from ingest.catalog.rows import Columns, RowBlock
    from ingest.catalog.source import CatalogSource

NAMES = ("json",)
ENDINGS = (".json",)
IS_TEXT = True

_ARRAY = re.compile(r"\[\s*[\]{]")
_WRAPPED = re.compile(r'\{\s*"[^"\\]{1,64}"\s*:\s*\[\s*\{')  # {"products": [{
_START = re.compile(r'\s*(?:\{\s*"[^"\\]{1,64}"\s*:\s*)?\[')
_SPACE = re.compile(r"[\s]*")
_CHUNK = 1 << 18


def recognises(source: CatalogSource) -> bool:
    """Return whether a file begins with an array of objects; in a .json file it may be the first thing of an object."""
    is_wrapped = source.ending.startswith(ENDINGS) and _WRAPPED.match(source.text)
    return bool(_ARRAY.match(source.text) or is_wrapped)


def read(
    source: CatalogSource, columns: Columns, _needs: Callable[[str], bool], recorder: CatalogRecorder
) -> Iterator[RowBlock]:
    """Yield the objects of the array; raises CatalogError where it is damaged, because nobody knows what follows."""
    encoding = examine(source, columns.options, may_be_code_page=False).encoding
    with source.open() as stream:
        stream.read(encoding.bom)
        array = _Array(source, stream, encoding.codec)
        yield from blocks_of(array.rows(), array, source, columns, recorder)
    recorder.add_file("JSON")


def count_rows(_file: CatalogFile) -> int | None:
    """Return None: the whole file would have to be read."""
    return None


class _Array:
    """The objects of an array; `offset` is how many characters have been read."""

    def __init__(self, source: CatalogSource, stream: BufferedReader, codec: str) -> None:
        self.offset = 0
        self._source = source
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(codec)()
        self._text, self._at, self._line = "", 0, 1
        self._is_whole = False

    def rows(self) -> Iterator[FileRow]:
        """Yield the array's elements in order, each with the line where it begins."""
        start = self._match(_START)
        if start is None:
            self._fail("is not an array of objects")
        while True:
            self._skip_space()
            mark = self._peek()
            if mark == "]":
                break
            line = self._line
            value = self._value()
            fault = "" if isinstance(value, dict) else f"not a JSON object but {display(value)}"
            yield FileRow(line, value if isinstance(value, dict) else {}, fault)
            self._skip_space()
            if (mark := self._peek()) == ",":
                self._advance(self._at + 1)
            elif mark != "]":
                self._fail("has no comma or ] after an object")
        self._check_end()

    def _check_end(self) -> None:
        """Read to the end of the document; raises CatalogError if it is cut off after the array."""
        self._advance(self._at + 1)
        rest = self._text[self._at :]
        while not self._is_whole:
            self._fill()
            rest = self._text[self._at :]
            if len(rest) > MAX_ROW:
                self._fail("goes on after its array")
        wrapper = rest.strip()
        if wrapper and not wrapper.endswith("}"):
            self._fail("is cut off after its array, or goes on; copy it again")

    def _value(self) -> object:
        """Return the next element; reads on until it is complete."""
        wanted = _CHUNK
        while True:
            try:
                end = self._end_of_value()
                value = json_lines.decode(self._text[self._at : end])
            except (ValueError, RecursionError) as error:
                if self._is_whole or len(self._text) - self._at > MAX_ROW:
                    cause = f"{error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
                    self._fail(f"is cut off or damaged: {cause}")
                while len(self._text) - self._at < wanted and not self._is_whole:
                    self._fill()
                wanted *= 2
                continue
            self._advance(end)
            return value

    def _end_of_value(self) -> int:
        _, end = json_lines.DECODER.raw_decode(self._text, self._at)
        if end == len(self._text) and not self._is_whole:
            raise ValueError("may go on")
        return int(end)

    def _skip_space(self) -> None:
        while True:
            found = _SPACE.match(self._text, self._at)
            assert found is not None
            self._advance(found.end())
            if self._at < len(self._text) or self._is_whole:
                return
            self._fill()

    def _peek(self) -> str:
        if self._at >= len(self._text):
            self._fail("is cut off; copy it again")
        return self._text[self._at]

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self._fill()
        found = pattern.match(self._text, self._at)
        if found:
            self._advance(found.end())
        return found

    def _advance(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _fill(self) -> None:
        """Read more, and forget what has been used."""
        chunk = self._stream.read(_CHUNK)
        self.offset += len(chunk)
        self._is_whole = not chunk
        try:
            self._text = self._text[self._at :] + self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise CatalogError(
                f"{self._source} after line {self._line}: is not UTF-8; pass --encoding NAME, or save it as UTF-8"
            ) from error
        self._at = 0

    def _fail(self, what: str) -> NoReturn:
        raise CatalogError(f"{self._source} line {self._line}: the JSON {what}")
