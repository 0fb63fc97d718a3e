"""The catalog's rows as products: each row a `Product`, or a `Skipped` that says why not.

Rows come in blocks, and a block is validated column by column, in a fifth of the time. A row with anything unusual goes
to `validation.validate`, which knows the rules for one row and one cell.
"""

from __future__ import annotations

import logging
import re
import sys
from contextlib import closing
from functools import cache, partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from ingest.catalog import casting, files, formats, image_cells
from ingest.catalog.casting import display
from ingest.catalog.decimal_signs import NULL, ColumnProofs, place_in
from ingest.catalog.duplicates import FirstLines
from ingest.catalog.recorder import CatalogRecorder
from ingest.catalog.validation import MAX_DYNAMIC, InvalidRowError, row_rules, validate
from ingest.core import invisible_characters
from ingest.core.errors import CatalogError, InputError
from ingest.core.records import Product

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator, Sequence
    from pathlib import Path

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.rows import Columns, RowBlock
    from ingest.catalog.validation import RowRules, TypedColumn
    from ingest.core.contract import Contract
    from ingest.core.records import Scalar, Skipped

log = logging.getLogger(__name__)

T = TypeVar("T")

_SHORTENED = re.compile(r"^[0-9](?:[.,][0-9]+)?E\+[0-9]{2}$", re.MULTILINE)
_FOOTERS = 8  # remote Parquet files whose number of rows an estimate reads, by two requests each


def read_catalog(
    catalog: Path | str,
    contract: Contract,
    columns: Columns,
    listed: list[CatalogFile] | None = None,
    recorder: CatalogRecorder | None = None,
) -> Iterator[Product | Skipped]:
    """Return an iterator over the rows of a catalog, in order: each a Product, or a Skipped that says why not.

    The catalog is a path, or a URL as a string: a file, a folder of part files or a glob, as `files.list_files` says.
    `line` is the physical line of its `file` where the row begins, from 1 as in an editor; in Parquet, the number of
    the row. If an id occurs more than once its first row counts, even if that row is broken or skipped. Memory grows
    with the ids alone. The format follows from the file's ending; text may be gzipped. A row of more than
    `rows.MAX_ROW` is skipped, and what else the pass shows goes to the `recorder`.

    The files must stay what they were when they were `listed`, by default now. Raises CatalogError: at once if there is
    no such file or its ending is unknown, with the first item if the header is invalid, at the place where text is not
    UTF-8 or a file is cut off, and at the end if the files have changed since. A storage that does not answer is a
    StorageError. After either, the rows that were not read must not be taken for deleted.
    """
    listed = files.list_files(catalog) if listed is None else listed
    return _products(catalog, listed, row_rules(contract, columns), recorder or CatalogRecorder())


def read_ids(
    catalog: Path | str, contract: Contract, columns: Columns, listed: list[CatalogFile] | None = None
) -> Generator[list[str], None, None]:
    """Yield the product ids of a catalog in blocks, as `read_catalog` reads them, and nothing else of its rows.

    Ids of rows that are broken or repeat an id are among them; rows without a usable id are left out. Of Parquet only
    one column is read. Raises CatalogError and StorageError as `read_catalog`.
    """
    rules, seen = row_rules(contract, columns), False
    safe_length, needs = casting.safe_length(rules.id_max_length), {columns.product_id}.__contains__
    with closing(files.prefetch_files(files.list_files(catalog) if listed is None else listed)) as fetched:
        for file in fetched:
            for block in formats.read(file, columns, needs, columns_seen=seen):
                seen = True
                ids = _texts(block.column(columns.product_id), rules.valid_id, safe_length)
                yield [product_id for at, product_id in enumerate(ids.values) if at not in ids.invalid]


def estimate(catalog: Path | str) -> int | None:
    """Return about how many products a catalog has, or None if that is expensive to find out.

    Also None if it cannot be read: `read_catalog` reports why.
    """
    try:
        parts = files.list_files(catalog)
        if len(parts) > _FOOTERS and not all(part.is_local for part in parts):
            return None
        counts = list(map(formats.count_rows, parts))
    except (InputError, OSError, ValueError):
        return None
    return None if None in counts else sum(filter(None, counts))


def _products(
    catalog: Path | str, parts: list[CatalogFile], rules: RowRules, recorder: CatalogRecorder
) -> Iterator[Product | Skipped]:
    seen, names = FirstLines(), set[str]()
    last_line: int | None = None
    rules.signs.scan = cache(partial(_scan, parts, rules))
    try:
        with closing(files.prefetch_files(parts)) as fetched:
            for file in fetched:
                seen.begin(file.name, last_line or 0)
                has_rows = last_line is not None
                for block in formats.read(file, rules.columns, rules.needs, recorder, columns_seen=has_rows):
                    last_line = block.lines[-1]
                    recorder.add_rows(len(block.lines))
                    names.update(block.columns)
                    yield from _validate_block(block, rules, seen)
    except CatalogError:
        if parts[0].is_local:  # files behind a URL check themselves
            files.check_unchanged(catalog, parts)  # one that was rewritten may look as if it were damaged
        raise
    files.check_unchanged(catalog, parts)
    if last_line is None:
        raise CatalogError(f"{catalog}: is empty, it has no products")
    if absent := [name for name in rules.image_columns if name not in names]:
        log.warning("%s: no row has the column %s of [images] in the schema", catalog, display(absent[0]))
    recorder.finish(rules.columns.product_id, rules.signs.signs())


def _scan(parts: list[CatalogFile], rules: RowRules) -> dict[str, ColumnProofs]:
    """Look at every number of a catalog that is written as text, and return what each column proves."""
    sources = [typed.source for typed in rules.typed if typed.signs is not None and typed.field.type != "BOOL"]
    found = {source: ColumnProofs() for source in sources}
    needed = {rules.columns.product_id, *sources}
    with closing(files.prefetch_files(parts)) as fetched:
        for number, file in enumerate(fetched):
            for block in formats.read(file, rules.columns, needed.__contains__, columns_seen=number > 0):
                for source in sources:
                    column = block.column(source)
                    texts = {cell for cell in column if type(cell) is str}
                    found[source].add(sorted(texts), place_in(file.name, block.lines, column))
    return found


class _Values(NamedTuple, Generic[T]):
    """A column's cells as values; those at the `invalid` positions are placeholders."""

    values: Sequence[T]
    invalid: Collection[int] = ()


def _validate_block(block: RowBlock, rules: RowRules, seen: FirstLines) -> list[Product | Skipped]:
    """Return what each row of a block is: valid columns are converted whole, other rows one by one."""
    columns = rules.columns
    block = _without_nulls(block, rules)
    ids = _texts(block.column(columns.product_id), rules.valid_id, casting.safe_length(rules.id_max_length))
    images, more_images = _images(block, rules)
    _warn_of_shortened(ids.values, block, rules)
    first_seen = _find_first_rows(ids, block, seen)
    cleaned = block._replace(columns={**block.columns, columns.product_id: ids.values, columns.image: images.values})
    metadata = _metadata(cleaned, rules)
    products = map(Product, ids.values, images.values, metadata.values, block.lines, repeat(seen.file))
    validated: list[Product | Skipped] = list(products)
    for at, more in more_images.items():
        validated[at] = validated[at]._replace(more_images=more)  # type: ignore[union-attr]
    for at in {*block.faults, *ids.invalid, *images.invalid, *first_seen, *metadata.invalid}:
        validated[at] = validate(block.row(at), rules, seen.file, first_seen.get(at, ""))
    return validated


def _images(block: RowBlock, rules: RowRules) -> tuple[_Values[str], dict[int, tuple[str, ...]]]:
    """Return each row's first image, and the others of the rows that have several, by position."""
    column = block.column(rules.columns.image)
    if len(rules.image_columns) == 1 and image_cells.are_single(column, rules.image_list):
        return _texts(column, rules.image, sys.maxsize), {}
    cells = {name: block.column(name) for name in rules.image_columns}
    none: tuple[str, ...] = ("",)
    found = _each(range(len(column)), lambda at: rules.images({name: cells[name][at] for name in cells}), none)
    more = {at: images[1:] for at, images in enumerate(found.values) if len(images) > 1}
    return _Values([images[0] for images in found.values], found.invalid), more


def _without_nulls(block: RowBlock, rules: RowRules) -> RowBlock:
    r"""Return a block with None for the cells of text that are `\N`, if the catalog's numbers have that as well."""
    own = {rules.columns.product_id, *rules.image_columns}
    with_null = [name for name, cells in block.columns.items() if name not in own and NULL in cells]
    if not with_null or not rules.signs.is_null(NULL):
        return block
    cleaned = {name: [None if cell == NULL else cell for cell in block.columns[name]] for name in with_null}
    return block._replace(columns={**block.columns, **cleaned})


def _warn_of_shortened(ids: Sequence[str], block: RowBlock, rules: RowRules) -> None:
    """Warn once of an id that a spreadsheet has shortened: 4.05E+12 stands for a thousand article numbers."""
    said = rules.columns.options.memory.said
    joined = "\n".join(ids)
    if "E+" not in joined or "id" in said or not (found := _SHORTENED.search(joined)):
        return
    said.add("id")
    log.warning(
        "line %d: the id %s is a number that a spreadsheet has shortened; export the column as text",
        block.lines[list(ids).index(found.group())], display(found.group()),
    )  # fmt: skip


def _find_first_rows(ids: _Values[str], block: RowBlock, seen: FirstLines) -> dict[int, str]:
    """Note the ids, also those of broken rows, and return by position where an id that is not new was first seen."""
    every = range(len(ids.values))
    positions = [at for at in every if at not in ids.invalid] if ids.invalid else every
    lines = [seen.before + block.lines[at] for at in positions]
    firsts = seen.of([ids.values[at] for at in positions], lines).tolist()
    if firsts == lines:
        return {}
    return {at: seen.place(first) for at, line, first in zip(positions, lines, firsts, strict=True) if first != line}


def _metadata(block: RowBlock, rules: RowRules) -> _Values[dict[str, Scalar]]:
    names = dict.fromkeys(typed.field.name for typed in rules.typed)
    rows: list[dict[str, Any]] = [names.copy() for _ in block.lines]
    invalid: set[int] = set()
    for typed in rules.typed:
        name, column = typed.field.name, _typed_values(block.column(typed.source), typed)
        invalid.update(column.invalid)
        for row, value in zip(rows, column.values, strict=True):
            row[name] = value
    if rules.keeps_others and _add_dynamic(rows, block, rules) > MAX_DYNAMIC:  # one of the rows may have more
        return _Values(rows, range(len(rows)))
    return _Values(rows, invalid)


def _add_dynamic(rows: list[dict[str, Any]], block: RowBlock, rules: RowRules) -> int:
    """Add the columns outside the contract to the rows, and return the bytes that a row of them has at most."""
    length = 0
    for name, column in block.columns.items():
        if name in rules.hidden:
            continue
        scalars = column if casting.all_text(column) else list(map(casting.json_scalar, column))
        for row, scalar in zip(rows, scalars, strict=True):
            if scalar is not None:
                row[name] = scalar
        length += len(name) + max(len(str(scalar)) for scalar in scalars) + 6
    return length * 6  # a character is 6 bytes of JSON at most


def _texts(column: Sequence[Any], convert: Callable[[Any], str], max_length: int) -> _Values[str]:
    """Return cells as `convert` does, without calling it if all are ordinary text within `max_length` characters."""
    if casting.all_text(column):
        texts = list(map(str.strip, column))
        joined = "".join(texts)
        if joined.isprintable() and not invisible_characters.may_have(joined) and max(map(len, texts)) <= max_length:
            return _Values(texts)
    return _each(column, convert, "")


def _typed_values(column: Sequence[Any], typed: TypedColumn) -> _Values[Scalar]:
    if typed.safe_length and casting.all_text(column) and max(map(len, column)) <= typed.safe_length:
        return _Values(column)
    if typed.field.type == "DOUBLE" and typed.signs is not None and typed.signs.may_be_fast:
        numbers = casting.doubles(column)
        is_plain = numbers is not None and (
            typed.signs.reads_plainly(typed.source) or not casting.has_open_number(column)
        )
        if numbers is not None and is_plain and typed.field.missing not in numbers:
            return _Values(numbers)
    return _each(column, typed.value, "")


def _each(column: Sequence[Any], convert: Callable[[Any], T], placeholder: T) -> _Values[T]:
    values, invalid = [], []
    for at, cell in enumerate(column):
        try:
            values.append(convert(cell))
        except InvalidRowError:
            invalid.append(at)
            values.append(placeholder)
    return _Values(values, frozenset(invalid))
