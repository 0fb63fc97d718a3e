"""The catalog's rows as products: each a `Product`, or a `Skipped` that says why not."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from ingest.catalog import cells, files, formats
from ingest.catalog.cells import shown
from ingest.catalog.seen import FirstLines
from ingest.errors import CatalogError
from ingest.records import Product, Reason, Skipped, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ingest.catalog.files import File
    from ingest.contract import Contract, Field
    from ingest.records import Scalar

_MAX_DYNAMIC = 65_536  # bytes of JSON a row's dynamic field may take: https://milvus.io/docs/limitations.md


class _RowError(Exception):
    """Why a row is no product: the reason and the detail."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class _Typed(NamedTuple):
    """A field of the contract, the catalog's column it comes from, and how a cell becomes its type.

    Text of at most `fits` characters is its own value whatever they are; 0 where text is converted.
    """

    field: Field
    source: str
    convert: Callable[[Any], Scalar]
    default: Scalar | None
    fits: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that a row is judged by, worked out once. `hidden` columns never reach the dynamic field."""

    columns: formats.Columns
    id_max_length: int
    typed: tuple[_Typed, ...]
    hidden: frozenset[str]
    keeps_others: bool

    def needs(self, column: str) -> bool:
        used = {self.columns.product_id, self.columns.image, *(typed.source for typed in self.typed)}
        return column in used or (self.keeps_others and column not in self.hidden)


def read(catalog: Path | str, contract: Contract, columns: formats.Columns) -> Iterator[Product | Skipped]:
    """Return an iterator over the rows of a catalog, in order: each a Product, or a Skipped that says why not.

    The catalog is a file, a folder of part files or a glob, by its path or by its URL, a string; `files.of` says which
    files it is. `line` counts physical lines of its `file` from 1, as an editor does, and is where the row begins; in
    Parquet it is the number of the row. The first row with an id is the one that counts, even if it is skipped. Memory
    grows with the ids alone. A file's kind is told by its ending; text may be gzipped.

    Raises CatalogError, one line: at once where there is no such file or its ending is unknown, with the
    first item where the header is at fault, and at its place where text is not UTF-8 or a quote stays open.
    A storage that does not answer is a StorageError. After either no row may be missed as if it were not there.
    """
    return _products(catalog, files.of(catalog), _plan(contract, columns))


def _products(catalog: Path | str, parts: list[File], plan: _Plan) -> Iterator[Product | Skipped]:
    seen = FirstLines()
    row = None
    with closing(files.fetched(parts)) as fetched:
        for file in fetched:
            seen.begin(file.name, row.line if row else 0)
            rows = formats.read_rows(file, plan.columns, plan.needs, known=row is not None)
            for row in rows:
                yield _product(row, plan, seen)
    if row is None:
        raise CatalogError(f"{catalog}: is empty, it has no products")


def _product(row: formats.Row, plan: _Plan, seen: FirstLines) -> Product | Skipped:
    product_id = ""
    try:
        product_id = _identity(row.cells.get(plan.columns.product_id), plan.columns.product_id)
        _check(product_id, row, plan, seen)
        image = _image(row.cells.get(plan.columns.image), plan.columns.image)
        own = {plan.columns.product_id: product_id, plan.columns.image: image}
        metadata = _metadata({**row.cells, **own}, plan)
    except _RowError as error:
        reason, detail = (Reason.BAD_ROW, row.fault) if row.fault else (error.reason, error.detail)
        return Skipped(product_id, Stage.CATALOG, reason, detail, row.line, seen.file)
    return Product(product_id, image, metadata, row.line, seen.file)


def _check(product_id: str, row: formats.Row, plan: _Plan, seen: FirstLines) -> None:
    """Raise _RowError for a row whose id cannot stand, and take a note of the id where it can."""
    if row.fault:
        raise _RowError(Reason.BAD_ROW, row.fault)
    if (length := len(product_id.encode())) > plan.id_max_length:
        detail = f"{shown(product_id)} is {length} bytes of UTF-8; at most {plan.id_max_length}"
        raise _RowError(Reason.ID_TOO_LONG, detail)
    line = seen.before + row.line
    first = seen.of(product_id, line)
    if first != line:
        raise _RowError(Reason.DUPLICATE_ID, f"first seen in {seen.place(first)}")


def _identity(value: Any, column: str) -> str:
    if type(value) is str:
        return _plain(value, column, Reason.NO_ID)
    # Warehouses write whole numbers as decimals without a fraction; a float has lost what it was.
    whole = isinstance(value, Decimal) and value.as_tuple().exponent == 0
    text = isinstance(value, bytes | int) and not isinstance(value, bool)
    if not (whole or text or cells.is_empty(value)):
        raise _RowError(Reason.BAD_ROW, f"{column} is {shown(value)}; an id is text or a whole number")
    return _plain(value, column, Reason.NO_ID)


def _image(value: Any, column: str) -> str:
    if not (isinstance(value, str | bytes) or cells.is_empty(value)):
        raise _RowError(Reason.BAD_ROW, f"{column} is {shown(value)}; a picture is a URL or a path")
    return _plain(value, column, Reason.NO_IMAGE)


def _plain(value: Any, column: str, missing: Reason) -> str:
    """Return a cell as text without surrounding whitespace; no control character gets into ids and paths."""
    try:
        text = value.strip() if type(value) is str else "" if cells.is_empty(value) else cells.text(value).strip()
    except ValueError as error:
        raise _RowError(Reason.BAD_ROW, f"{column} is {shown(value)}, which is not UTF-8") from error
    if not text:
        raise _RowError(missing, f"{column} is empty; fill it in or drop the row")
    if not text.isprintable() and (control := cells.control_character(text)):
        raise _RowError(Reason.BAD_ROW, f"{column} is {shown(text)}; it must not contain {control}")
    return text


def _metadata(row: Mapping[str, Any], plan: _Plan) -> dict[str, Scalar]:
    metadata: dict[str, Scalar] = {}
    for field, source, convert, default, fits in plan.typed:
        value = row.get(source)
        # What most cells are first: a catalog is read at the rate of this loop.
        if type(value) is str and 0 < len(value) <= fits and not value.isspace():
            metadata[field.name] = value
            continue
        try:
            kept = default if cells.is_empty(value) else convert(value)
        except (ValueError, OverflowError, RecursionError) as error:
            detail = f"{field.name} is {shown(value)}; {cells.allowed(field)}"
            raise _RowError(Reason.BAD_METADATA, detail) from error
        if kept is None:
            detail = f"{field.name} is empty and has no default; {cells.allowed(field)}"
            raise _RowError(Reason.BAD_METADATA, detail)
        metadata[field.name] = kept
    if plan.keeps_others and not row.keys() <= plan.hidden:
        others = {name: cells.json_scalar(value) for name, value in row.items() if name not in plan.hidden}
        metadata |= _fitting({name: value for name, value in others.items() if value is not None})
    return metadata


def _fitting(others: dict[str, Scalar]) -> dict[str, Scalar]:
    """Return `others`, which must fit into the dynamic field: one row too long fails its whole upsert."""
    roughly = sum(len(name) + len(str(value)) + 6 for name, value in others.items())
    if roughly * 6 > _MAX_DYNAMIC:  # a character is 6 bytes at most, \u0000 being the longest
        size = len(json.dumps(others, ensure_ascii=False).encode())
        if size > _MAX_DYNAMIC:
            longest = max(others, key=lambda name: len(str(others[name])))
            most = f"most of them in {shown(longest)}"
            detail = f"columns outside the contract take {size} bytes, {most}; at most {_MAX_DYNAMIC}"
            raise _RowError(Reason.BAD_METADATA, detail)
    return others


def _plan(contract: Contract, columns: formats.Columns) -> _Plan:
    own = {"product_id": columns.product_id, "image": columns.image}
    typed = []
    for field in contract.fields:
        convert = cells.converter(field)
        default = field.default if field.default is None else convert(field.default)
        fits = cells.surely_fits(field.max_length) if field.type == "VARCHAR" else 0
        typed.append(_Typed(field, own.get(field.column, field.column), convert, default, fits))
    hidden = contract.taken_names | {columns.product_id, ""} | {column.source for column in typed}
    return _Plan(columns, contract.id_max_length, tuple(typed), hidden, contract.keeps_others)
