"""One row of a catalog as a product: a `Product`, or a `Skipped` that says why not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from ingest.catalog import casting, formats, invisible_characters
from ingest.catalog.casting import display
from ingest.core.records import Product, Reason, Skipped, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ingest.core.contract import Contract
    from ingest.core.field import Field
    from ingest.core.records import Scalar

MAX_DYNAMIC = 65_536
"""Bytes of JSON that a row's dynamic field may take: https://milvus.io/docs/limitations.md"""


class InvalidRowError(Exception):
    """Why a row is no product: the reason and the detail."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class TypedColumn(NamedTuple):
    """A field of the contract, the catalog's column it comes from, and how a cell becomes its type.

    Text of at most `fits` characters is its own value whatever they are; 0 where text is converted.
    """

    field: Field
    source: str
    convert: Callable[[Any], Scalar]
    default: Scalar | None
    fits: int

    def value(self, cell: Any) -> Scalar:
        """Return a cell as the field's type; raises InvalidRowError."""
        if type(cell) is str and 0 < len(cell) <= self.fits and not cell.isspace():
            return cell
        try:
            kept = self.default if casting.is_empty(cell) else self.convert(cell)
        except (ValueError, OverflowError, RecursionError) as error:
            more = str(error) if isinstance(error, casting.CastError) else ""
            detail = f"{self.field.name} is {display(cell)}; {more or casting.describe_allowed(self.field)}"
            raise InvalidRowError(Reason.BAD_METADATA, detail) from error
        if kept is None:
            detail = f"{self.field.name} is empty and has no default; {casting.describe_allowed(self.field)}"
            raise InvalidRowError(Reason.BAD_METADATA, detail)
        # The number that stands for a missing one is a missing one, on every server.
        return self.default if kept == self.field.missing and self.default is not None else kept


@dataclass(frozen=True, slots=True)
class RowRules:
    """All that a row is judged by, worked out once. `hidden` columns never reach the dynamic field."""

    columns: formats.Columns
    id_max_length: int
    typed: tuple[TypedColumn, ...]
    hidden: frozenset[str]
    keeps_others: bool

    def needs(self, column: str) -> bool:
        """Tell whether a column of the catalog is looked at."""
        used = {self.columns.product_id, self.columns.image, *(typed.source for typed in self.typed)}
        return column in used or (self.keeps_others and column not in self.hidden)

    def identity(self, cell: Any) -> str:
        """Return a cell as a product's id, however long; raises InvalidRowError."""
        return _identity(cell, self.columns.product_id)

    def check_length(self, product_id: str) -> None:
        """Raise InvalidRowError for an id that is too long."""
        if (length := len(product_id.encode())) > self.id_max_length:
            detail = f"{display(product_id)} is {length} bytes of UTF-8; at most {self.id_max_length}"
            raise InvalidRowError(Reason.ID_TOO_LONG, detail)

    def place(self, cell: Any) -> str:
        """Return a cell as the URL or the path of a picture; raises InvalidRowError."""
        return _image(cell, self.columns.image)


def validate(row: formats.FileRow, plan: RowRules, file: str, first: str = "") -> Product | Skipped:
    """Return what a row of `file` is; `first` is where its id was first seen, if that is not here."""
    product_id = ""
    try:
        product_id = plan.identity(row.cells.get(plan.columns.product_id))
        plan.check_length(product_id)
        _check(row, first)
        image = plan.place(row.cells.get(plan.columns.image))
        own = {plan.columns.product_id: product_id, plan.columns.image: image}
        metadata = _metadata({**row.cells, **own}, plan)
    except InvalidRowError as error:
        counts_fault = row.fault and error.reason is not Reason.DUPLICATE_ID
        reason, detail = (Reason.BAD_ROW, row.fault) if counts_fault else (error.reason, error.detail)
        return Skipped(product_id, Stage.CATALOG, reason, detail, row.line, file, bool(row.fault))
    return Product(product_id, image, metadata, row.line, file)


def _check(row: formats.FileRow, first: str) -> None:
    if first:
        raise InvalidRowError(Reason.DUPLICATE_ID, f"first seen in {first}" + f"; {row.fault}" * bool(row.fault))
    if row.fault:
        raise InvalidRowError(Reason.BAD_ROW, row.fault)


def _identity(value: Any, column: str) -> str:
    # Warehouses write whole numbers as decimals without a fraction; a float has lost what it was.
    whole = isinstance(value, Decimal) and value.as_tuple().exponent == 0
    text = isinstance(value, str | bytes | int | UUID) and not isinstance(value, bool)
    if not (whole or text or casting.is_empty(value)):
        raise InvalidRowError(Reason.BAD_ROW, f"{column} is {display(value)}; an id is text, a whole number or a UUID")
    product_id = _plain(value, column, Reason.NO_ID)
    if not invisible_characters.may_have(product_id):
        return product_id
    product_id = _filled(invisible_characters.strip(product_id), column, Reason.NO_ID)
    if found := invisible_characters.find_first(product_id):
        raise InvalidRowError(Reason.BAD_ROW, f"{column} is {display(product_id)}; it must not contain {found}")
    return product_id


def _image(value: Any, column: str) -> str:
    if not (isinstance(value, str | bytes) or casting.is_empty(value)):
        raise InvalidRowError(Reason.BAD_ROW, f"{column} is {display(value)}; a picture is a URL or a path")
    return _plain(value, column, Reason.NO_IMAGE)


def _plain(value: Any, column: str, missing: Reason) -> str:
    """Return a cell as text without surrounding whitespace; no control character gets into ids and paths."""
    try:
        text = value.strip() if type(value) is str else "" if casting.is_empty(value) else casting.text(value).strip()
    except ValueError as error:
        raise InvalidRowError(Reason.BAD_ROW, f"{column} is {display(value)}, which is not UTF-8") from error
    _filled(text, column, missing)
    if not text.isprintable() and (control := casting.control_character(text)):
        raise InvalidRowError(Reason.BAD_ROW, f"{column} is {display(text)}; it must not contain {control}")
    return text


def _filled(text: str, column: str, missing: Reason) -> str:
    if not text:
        raise InvalidRowError(missing, f"{column} is empty; fill it in or drop the row")
    return text


def _metadata(row: Mapping[str, Any], plan: RowRules) -> dict[str, Scalar]:
    metadata: dict[str, Scalar] = {}
    for typed in plan.typed:
        metadata[typed.field.name] = typed.value(row.get(typed.source))
    if plan.keeps_others and not row.keys() <= plan.hidden:
        others = {name: casting.json_scalar(value) for name, value in row.items() if name not in plan.hidden}
        metadata |= _fitting({name: value for name, value in others.items() if value is not None})
    return metadata


def _fitting(others: dict[str, Scalar]) -> dict[str, Scalar]:
    """Return `others`, which must fit into the dynamic field: one row too long fails its whole upsert."""
    roughly = sum(len(name) + len(str(value)) + 6 for name, value in others.items())
    if roughly * 6 > MAX_DYNAMIC:  # a character is 6 bytes at most, \u0000 being the longest
        size = len(json.dumps(others, ensure_ascii=False).encode())
        if size > MAX_DYNAMIC:
            longest = max(others, key=lambda name: len(str(others[name])))
            most = f"most of them in {display(longest)}"
            detail = f"columns outside the contract take {size} bytes, {most}; at most {MAX_DYNAMIC}"
            raise InvalidRowError(Reason.BAD_METADATA, detail)
    return others


def row_rules(contract: Contract, columns: formats.Columns) -> RowRules:
    """Return what the rows of a catalog with these columns are judged by."""
    own = {"product_id": columns.product_id, "image": columns.image}
    typed = []
    for field in contract.fields:
        convert = casting.converter(field)
        default = field.default if field.default is None else convert(field.default)
        fits = casting.surely_fits(field.max_length) if field.type == "VARCHAR" else 0
        typed.append(TypedColumn(field, own.get(field.column, field.column), convert, default, fits))
    hidden = contract.taken_names | {columns.product_id, ""} | {column.source for column in typed}
    return RowRules(columns, contract.id_max_length, tuple(typed), hidden, contract.keeps_others)
