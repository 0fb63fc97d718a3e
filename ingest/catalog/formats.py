"""The file formats of a catalog, known by their endings and their first bytes. A new format starts here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from ingest.catalog import delimited, google_xml, json_array, json_lines, parquet, spreadsheet
from ingest.catalog.recorder import CatalogRecorder
from ingest.catalog.source import CatalogSource
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.rows import Columns, RowBlock

log = logging.getLogger(__name__)


class CatalogFormat(Protocol):
    """A file format: a module with these names, listed below."""

    @property
    def NAMES(self) -> tuple[str, ...]:  # noqa: N802
        """What --format may say."""

    @property
    def ENDINGS(self) -> tuple[str, ...]:  # noqa: N802
        """The endings of its files."""

    @property
    def IS_TEXT(self) -> bool:  # noqa: N802
        """Whether its files may be gzipped."""

    def recognises(self, source: CatalogSource, /) -> bool:
        """Return whether the first bytes of a file are certainly of this format."""

    def read(
        self, source: CatalogSource, columns: Columns, needs: Callable[[str], bool], recorder: CatalogRecorder, /
    ) -> Iterator[RowBlock]:
        """Yield the rows in order, in blocks, at least with the columns that `needs` returns True for.

        Raises CatalogError if not all of them can be read.
        """

    def count_rows(self, file: CatalogFile, /) -> int | None:
        """Return about how many rows a file has; None if that is expensive to find out."""


FORMATS: tuple[CatalogFormat, ...] = (parquet, spreadsheet, google_xml, json_array, json_lines, delimited)
"""The formats; of several that recognise a file the first reads it."""
_BY_ENDING = {ending: each for each in FORMATS for ending in each.ENDINGS}
_ENDINGS = (*(f"{ending}.gz" for ending, each in _BY_ENDING.items() if each.IS_TEXT), *_BY_ENDING)


def find_ending(name: str) -> str:
    """Return the ending of a file's name that says its format, such as `.csv` or `.jsonl.gz`; "" if it has none."""
    return next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")


def format_of(file: CatalogFile) -> str:
    """Return a file's format by its ending, such as `.csv` or `.jsonl.gz`; raises CatalogError if it has none."""
    ending = find_ending(file.name)
    if not ending:
        known = ", ".join(_BY_ENDING)
        raise CatalogError(f"{file}: unknown ending; a catalog ends in {known} (text also with .gz)")
    return ending


def read(
    file: CatalogFile,
    columns: Columns,
    needs: Callable[[str], bool],
    recorder: CatalogRecorder | None = None,
    *,
    columns_seen: bool = False,
) -> Iterator[RowBlock]:
    """Yield the rows of a file in order, in blocks; from Parquet, only the columns that `needs` returns True for.

    What else the file shows goes to the `recorder`.

    `columns_seen` is whether an earlier file of the catalog had the two columns: a JSON Lines row may leave a column
    out, so not every file has to show both. Raises CatalogError as `reader.read_catalog` documents.
    """
    recorder = recorder or CatalogRecorder()
    source = CatalogSource(file, format_of(file), is_first=not columns_seen)
    yield from find_format(source, columns).read(source, columns, needs, recorder)
    what = recorder.describe(file)
    if what and what not in columns.options.memory.said:
        columns.options.memory.said.add(what)
        log.warning("%s", what)


def find_format(source: CatalogSource, columns: Columns) -> CatalogFormat:
    """Return the format that a file is in: the one that --format names, or its content shows, or its ending.

    A file whose ending is that of delimited text, and which names the columns so, is that, whatever it begins with.
    """
    asked = columns.options.format
    named = [each for each in FORMATS if asked in each.NAMES]
    by_ending = _BY_ENDING[source.ending.removesuffix(".gz")]
    if ".parquet" in by_ending.ENDINGS and not named:  # whose first bytes are far from those that are read first
        return by_ending
    for each in named or FORMATS:
        if each.recognises(source):
            is_table = not named and ".csv" in by_ending.ENDINGS and delimited.is_table(source, columns)
            return by_ending if is_table else each
    return named[-1] if named else by_ending


def count_rows(file: CatalogFile) -> int | None:
    """Return about how many rows a file has, or None if that is expensive to find out: zipped or remote text."""
    ending = format_of(file)
    by_ending = _BY_ENDING[ending.removesuffix(".gz")]
    return None if ending.endswith(".gz") else by_ending.count_rows(file)
