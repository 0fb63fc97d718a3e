"""A catalog looked at as a whole, before anybody has named its columns: what each of them holds."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ingest.catalog import casting, files, formats
from ingest.catalog.decimal_signs import ColumnProofs, place_in
from ingest.catalog.image_cells import ENDING
from ingest.catalog.number_text import is_null, parse
from ingest.catalog.recorder import CatalogRecorder
from ingest.catalog.rows import Columns
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ingest.catalog.options import ReadOptions

_IMAGE = re.compile(rf"(?:https?:)?//\S+|[^\s]+{ENDING}(?:[?#]\S*)?", re.IGNORECASE)
_IMAGE_FILE = re.compile(rf".*{ENDING}(?:[?#].*)?", re.IGNORECASE)
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_TRUTHS = frozenset({"true", "false", "yes", "no"})
_MOST_IDS = 5_000_000  # hashes of cells that are kept while a column may be an id


@dataclass(slots=True)
class ColumnFacts:
    """What the cells of a column are: how many are filled, the longest in bytes of UTF-8, and what all of them may be.

    `images` counts those that look like the address or path of an image, `files` those that end as one.
    """

    filled: int = 0
    longest: int = 0
    images: int = 0
    files: int = 0
    are_unique: bool = True
    are_numbers: bool = True
    are_whole: bool = True
    are_truths: bool = True
    proofs: ColumnProofs = field(default_factory=ColumnProofs)
    seen: set[int] = field(default_factory=set)

    def add(self, cells: Sequence[Any], file: str, lines: Sequence[int]) -> None:
        """Count the cells of a block."""
        texts = [_text(cell) for cell in cells]
        self._count_unique(texts)
        place = place_in(file, lines, cells)
        for cell, text in zip(cells, texts, strict=True):
            if not text:
                continue
            self.filled += 1
            whole = _text([cell]) if isinstance(cell, list) else text
            self.longest = max(self.longest, len(whole.encode("utf-8", "replace")))
            self.images += _IMAGE.fullmatch(text) is not None
            self.files += _IMAGE_FILE.fullmatch(text) is not None
            self._type(cell, text)
        if self.are_numbers:
            self.proofs.add(sorted({cell for cell in cells if type(cell) is str}), place)

    def _type(self, cell: Any, text: str) -> None:
        is_text = isinstance(cell, str)
        self.are_truths = self.are_truths and (isinstance(cell, bool) or (is_text and text.lower() in _TRUTHS))
        if not self.are_numbers or (is_text and is_null(text)):
            return
        number = parse(text) if is_text else None
        is_number = number is not None and number != (None, None)
        self.are_numbers = is_number or (isinstance(cell, int | float) and not isinstance(cell, bool))
        self.are_whole = self.are_whole and self.are_numbers and _WHOLE.fullmatch(text) is not None

    def _count_unique(self, texts: Sequence[str]) -> None:
        if not self.are_unique:
            return
        before = len(self.seen)
        self.seen.update(map(hash, texts))
        self.are_unique = all(texts) and len(self.seen) == before + len(texts) <= _MOST_IDS
        if not self.are_unique:
            self.seen.clear()


@dataclass(slots=True)
class Survey:
    """A catalog's rows, its columns in order, and how it is written, in words and as its profile says."""

    rows: int
    columns: dict[str, ColumnFacts]
    dialect: str
    encoding: str


def survey(catalog: Path | str, options: ReadOptions) -> Survey:
    """Read a catalog, and return what its columns hold; raises CatalogError and StorageError as `read_catalog`."""
    columns, recorder = Columns(options=options, are_known=False), CatalogRecorder()
    found: dict[str, ColumnFacts] = {}
    rows = 0
    listed = files.list_files(catalog)
    with closing(files.prefetch_files(listed)) as fetched:
        for number, file in enumerate(fetched):
            for block in formats.read(file, columns, lambda _name: True, recorder, columns_seen=number > 0):
                rows += len(block.lines) - len(block.faults)
                for name, cells in block.columns.items():
                    if not name:
                        continue
                    good = [cell for at, cell in enumerate(cells) if at not in block.faults]
                    lines = [line for at, line in enumerate(block.lines) if at not in block.faults]
                    if name not in found:
                        found[name] = ColumnFacts(are_unique=rows == len(good))
                    found[name].add(good, file.name, lines)
    files.check_unchanged(catalog, listed)
    if not rows:
        raise CatalogError(f"{catalog}: is empty, it has no products")
    recorder.add_rows(rows)
    recorder.finish("", {})
    assert recorder.profile is not None
    for facts in found.values():
        facts.are_unique = facts.are_unique and facts.filled == rows
        facts.are_numbers = facts.are_numbers and facts.filled > 0
    return Survey(rows, found, recorder.profile.dialect, recorder.profile.encoding)


def _text(cell: Any) -> str:
    """Return a cell as text, of a list its first element; "" for one that is empty or is no text."""
    if isinstance(cell, list):
        cell = next((one for one in cell if not casting.is_empty(one)), None)
    if casting.is_empty(cell):
        return ""
    try:
        return casting.text(cell).strip()
    except (ValueError, RecursionError):
        return ""
