"""Google Merchant feeds in XML, RSS and Atom, read as a stream; a document that declares entities is refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from ingest.catalog import google
from ingest.catalog.row_blocks import blocks_of
from ingest.catalog.rows import DEFAULT_IMAGE, MAX_ROW, TOO_LONG, FileRow
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.recorder import CatalogRecorder
    from ingest.catalog.rows import Columns, RowBlock
    from ingest.catalog.source import CatalogSource

NAMES = (google.NAME,)
ENDINGS = (".xml", ".rss", ".atom")
IS_TEXT = True

_GOOGLE = "http://base.google.com/ns/1.0"
_ITEMS = ("item", "entry")  # of RSS and of Atom
_CHUNK = 1 << 16
_DEEPEST = 32
_SPACES = re.compile(r"\s+")


def recognises(source: CatalogSource) -> bool:
    """Return whether a file begins with an element of XML that is not one of a web page."""
    return source.text.startswith("<") and not source.text[:20].lower().startswith(("<!doctype html", "<html"))


def read(
    source: CatalogSource, columns: Columns, _needs: Callable[[str], bool], recorder: CatalogRecorder
) -> Iterator[RowBlock]:
    """Yield the items of a feed; the image is a list if there are additional ones."""
    feed = _Feed(source)
    image = "image_link" if columns.image == DEFAULT_IMAGE else columns.image
    rows = (_with_images(row, image) for row in feed.rows(columns.options.encoding))
    yield from blocks_of(rows, feed, source, columns, recorder)
    recorder.add_file("Google XML")


def count_rows(_file: CatalogFile) -> int | None:
    """Return None: the whole file would have to be read."""
    return None


class _Feed:
    """The items of a feed as rows; `offset` is how many bytes have been read."""

    def __init__(self, source: CatalogSource) -> None:
        self.offset = 0
        self._source = source
        self._rows: list[FileRow] = []
        self._path: list[str] = []
        self._texts: list[list[str]] = []
        self._nested: list[dict[str, Any]] = []
        self._line = self._room = 0

    def rows(self, encoding: str) -> Iterator[FileRow]:
        """Yield the items in order; raises CatalogError where the XML is damaged, cut off or declares entities."""
        parser = expat.ParserCreate(encoding or None, " ")
        parser.buffer_text = True
        parser.StartElementHandler = lambda name, attributes: self._begin(name, attributes, parser.CurrentLineNumber)
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._add
        parser.EntityDeclHandler = self._refuse
        found = False
        try:
            with self._source.open() as stream:
                while chunk := stream.read(_CHUNK):
                    parser.Parse(chunk, False)  # noqa: FBT003  expat's own signature
                    self.offset += len(chunk)
                    found = found or bool(self._rows)
                    yield from self._rows
                    self._rows.clear()
            parser.Parse(b"", True)  # noqa: FBT003
        except expat.ExpatError as error:
            cut = error.code in _CUT
            what = "it is cut off; copy it again" if cut else expat.ErrorString(error.code)
            raise CatalogError(f"{self._source} line {error.lineno}: cannot be read as XML: {what}") from error
        except (LookupError, ValueError) as error:  # an encoding that Python does not know
            raise CatalogError(f"{self._source}: cannot be read as XML: {error}") from error
        if not found:
            raise CatalogError(f"{self._source}: has no <item> or <entry>; a feed of Google Merchant has one a product")

    def _begin(self, name: str, attributes: dict[str, str], line: int) -> None:
        self._path.append(name)
        if len(self._path) > _DEEPEST:
            raise CatalogError(f"{self._source} line {line}: has elements nested more than {_DEEPEST} deep")
        self._texts.append([])
        if self._nested:
            self._nested.append({})
            if name.endswith("link") and attributes.get("href"):
                self._texts[-1].append(attributes["href"])
        elif _local(name) in _ITEMS:
            self._nested, self._line, self._room = [{}], line, MAX_ROW

    def _add(self, text: str) -> None:
        self._room -= len(text)
        if self._nested and self._room >= 0:
            self._texts[-1].append(text)

    def _end(self, name: str) -> None:
        self._path.pop()
        text = "".join(self._texts.pop()).strip()
        if not self._nested:
            return
        content = self._nested.pop()
        if not self._nested:
            cells = {ours: content[one] for one in content for ours in [_column(one, content)] if ours}
            self._rows.append(FileRow(self._line, cells, TOO_LONG if self._room < 0 else ""))
            return
        value = {_local(one): inner for one, inner in content.items()} or text
        within = self._nested[-1]
        if name in within:
            before = within[name]
            within[name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            within[name] = value

    def _refuse(self, name: str, *_declaration: object) -> None:
        raise CatalogError(
            f"{self._source}: declares the entity {name!r}, which may stand for any amount of text; a feed needs none"
        )


_CUT = {
    expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS],
    expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_TOKEN],
    expat.errors.codes[expat.errors.XML_ERROR_PARTIAL_CHAR],
}


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _column(name: str, content: dict[str, Any]) -> str:
    """Return the column of an element: Google's own goes before that of RSS or Atom of the same name."""
    namespace, _, local = name.rpartition(" ")
    local = local.removeprefix("g:")
    return "" if namespace != _GOOGLE and f"{_GOOGLE} {local}" in content else local


def _with_images(row: FileRow, image: str) -> FileRow:
    """Return a row whose image is a list, the main one first, if there are additional ones."""
    first, more = row.cells.get(image), row.cells.get(google.ADDITIONAL)
    if not isinstance(first, str) or not more:
        return row
    others = more if isinstance(more, list) else [more]
    return row._replace(cells={**row.cells, image: [first, *others]})
