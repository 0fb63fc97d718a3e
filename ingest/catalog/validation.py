"""One row of a catalog → a `Product`, or a `Skipped` that says why not."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from ingest.catalog import casting, image_cells
from ingest.catalog.casting import display
from ingest.catalog.decimal_signs import DecimalSigns
from ingest.catalog.number_text import is_null
from ingest.core import image_list, invisible_characters
from ingest.core.records import Product, Reason, Skipped, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ingest.catalog.rows import Columns, FileRow
    from ingest.core.contract import Contract
    from ingest.core.field import Field
    from ingest.core.image_list import ImageList
    from ingest.core.records import Scalar

MAX_DYNAMIC = 65_536
"""Bytes of JSON that a row's dynamic field may take: https://milvus.io/docs/limitations.md"""

_CLEARLY_TOO_LONG = 1 << 20  # characters


class InvalidRowError(Exception):
    """Why a row is not a product: the reason and the detail."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class TypedColumn(NamedTuple):
    """A field of the contract, the catalog's column it comes from, and how a cell becomes its type.

    Any text of at most `safe_length` characters is valid as it is; 0 if text has to be converted. `signs` reads numbers
    that are written as text; None if the field is VARCHAR.
    """

    field: Field
    source: str
    convert: Callable[[Any], Scalar]
    default: Scalar | None
    safe_length: int
    signs: DecimalSigns | None = None

    def value(self, cell: Any) -> Scalar:
        """Return a cell as the field's type; raises InvalidRowError."""
        if type(cell) is str and 0 < len(cell) <= self.safe_length and not cell.isspace():
            return cell
        try:
            kept = self.default if self._is_empty(cell) else self.convert(self._plain(cell))
        except (ValueError, OverflowError, RecursionError) as error:
            more = str(error) if isinstance(error, casting.CastError) else ""
            detail = f"{self.field.name} is {display(cell)}; {more or casting.describe_allowed(self.field)}"
            raise InvalidRowError(Reason.BAD_METADATA, detail) from error
        if kept is None:
            detail = f"{self.field.name} is empty and has no default; {casting.describe_allowed(self.field)}"
            raise InvalidRowError(Reason.BAD_METADATA, detail)
        # The number that stands for a missing one means missing on every server.
        return self.default if kept == self.field.missing and self.default is not None else kept

    def _is_empty(self, cell: Any) -> bool:
        return casting.is_empty(cell) or (self.signs is not None and isinstance(cell, str) and is_null(cell))

    def _plain(self, cell: Any) -> Any:
        """Return a number that is written as text in its plain form; any other cell as it is."""
        is_number = self.signs is not None and self.field.type != "BOOL" and isinstance(cell, str)
        return self.signs.plain(self.source, cell) if is_number and self.signs is not None else cell


@dataclass(frozen=True, slots=True)
class RowRules:
    """The rules that rows are validated by. `hidden` columns are kept out of the dynamic field."""

    columns: Columns
    id_max_length: int
    typed: tuple[TypedColumn, ...]
    hidden: frozenset[str]
    keeps_others: bool
    signs: DecimalSigns
    image_list: ImageList = image_list.ONE

    @property
    def image_columns(self) -> tuple[str, ...]:
        """The columns that name images, in the order in which these are tried."""
        listed = self.image_list.columns
        return listed if self.columns.image in listed else (self.columns.image, *listed)

    def needs(self, column: str) -> bool:
        """Return whether a column of the catalog is used."""
        used = {self.columns.product_id, *self.image_columns, *(typed.source for typed in self.typed)}
        return column in used or (self.keeps_others and column not in self.hidden)

    def product_id(self, cell: Any) -> str:
        """Return a cell as a product id of any length; raises InvalidRowError."""
        return _product_id(cell, self.columns.product_id)

    def valid_id(self, cell: Any) -> str:
        """Return a cell as a product id; raises InvalidRowError, also if it is too long."""
        product_id = self.product_id(cell)
        self.check_length(product_id)
        return product_id

    def check_length(self, product_id: str) -> None:
        """Raise InvalidRowError for an id that is too long."""
        if (length := len(product_id.encode())) > self.id_max_length:
            detail = f"{display(product_id)} is {length} bytes of UTF-8; at most {self.id_max_length}"
            raise InvalidRowError(Reason.ID_TOO_LONG, detail)

    def image(self, cell: Any) -> str:
        """Return a cell as the URL or path of an image; raises InvalidRowError."""
        return _image(cell, self.columns.image)

    def images(self, cells: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the images of a row, those to be tried first in front; raises InvalidRowError if there is none."""
        found: dict[str, None] = {}
        first: InvalidRowError | None = None
        for name in self.image_columns:
            try:
                pieces = image_cells.split(cells.get(name), self.image_list)
            except image_cells.AmbiguousCellError as error:
                detail = f"{name} is {display(cells.get(name))}; it {error}"
                raise InvalidRowError(Reason.BAD_ROW, detail) from error
            for piece in pieces or [None]:
                try:
                    found.setdefault(_image(piece, name))
                except InvalidRowError as error:
                    first = first if first is not None and first.reason is not Reason.NO_IMAGE else error
        if not found:
            assert first is not None, "a row without an image has an error"
            raise first
        image, *more = list(found)[: self.image_list.at_most]
        return image, *filter(self._fits, more)

    def _fits(self, image: str) -> bool:
        """Return whether the fields that name the image can hold this one."""
        try:
            for typed in self.typed:
                if typed.source == self.columns.image:
                    typed.value(image)
        except InvalidRowError:
            return False
        return True


def validate(row: FileRow, rules: RowRules, file: str, first_seen: str = "") -> Product | Skipped:
    """Return what a row of `file` is; `first_seen` is where its id occurred first, if not in this row."""
    product_id = ""
    try:
        product_id = rules.product_id(row.cells.get(rules.columns.product_id))
        rules.check_length(product_id)
        _check(row, first_seen)
        image, *more = rules.images(row.cells)
        own = {rules.columns.product_id: product_id, rules.columns.image: image}
        metadata = _metadata({**row.cells, **own}, rules)
    except InvalidRowError as error:
        counts_fault = row.fault and error.reason is not Reason.DUPLICATE_ID
        reason, detail = (Reason.BAD_ROW, row.fault) if counts_fault else (error.reason, error.detail)
        detail = "; ".join(filter(None, (detail, row.doubt)))
        return Skipped(product_id, Stage.CATALOG, reason, detail, row.line, file, bool(row.fault or row.doubt))
    return Product(product_id, image, metadata, row.line, file, tuple(more))


def refit(product_id: str, values: Mapping[str, Any], rules: RowRules) -> dict[str, Scalar]:
    """Return the metadata of a row that was stored by another contract; raises InvalidRowError if it does not fit.

    `values` are by the names of the fields that they were stored in; a field that is new takes the value of the column
    that it comes from, if that was stored, else its default.
    """
    rules.check_length(product_id)
    typed = {one.field.name: one.value(values.get(one.field.name, values.get(one.source))) for one in rules.typed}
    if not rules.keeps_others:
        return typed
    others = {name: casting.json_scalar(value) for name, value in values.items() if name not in rules.hidden}
    return typed | _check_size({name: value for name, value in others.items() if value is not None})


def _check(row: FileRow, first_seen: str) -> None:
    if first_seen:
        raise InvalidRowError(Reason.DUPLICATE_ID, f"first seen in {first_seen}" + f"; {row.fault}" * bool(row.fault))
    if row.fault:
        raise InvalidRowError(Reason.BAD_ROW, row.fault)


def _product_id(value: Any, column: str) -> str:
    # Data warehouses write whole numbers as decimals without a fraction; a float may have lost digits.
    whole = isinstance(value, Decimal) and value.as_tuple().exponent == 0
    text = isinstance(value, str | bytes | int | UUID) and not isinstance(value, bool)
    if not (whole or text or casting.is_empty(value)):
        raise InvalidRowError(Reason.BAD_ROW, f"{column} is {display(value)}; an id is text, a whole number or a UUID")
    product_id = _plain(value, column, Reason.NO_ID)
    if not invisible_characters.may_have(product_id):
        return product_id
    product_id = _require(invisible_characters.strip(product_id), column, Reason.NO_ID)
    if found := invisible_characters.find_first(product_id):
        raise InvalidRowError(Reason.BAD_ROW, f"{column} is {display(product_id)}; it must not contain {found}")
    return product_id


def _image(value: Any, column: str) -> str:
    if isinstance(value, list):  # the first of several; the others stay in the row
        value = next((one for one in value if not casting.is_empty(one)), None)
    if not (isinstance(value, str | bytes) or casting.is_empty(value)):
        raise InvalidRowError(Reason.BAD_ROW, f"{column} is {display(value)}; an image is a URL or a path")
    return _plain(value, column, Reason.NO_IMAGE)


def _plain(value: Any, column: str, missing: Reason) -> str:
    """Return a cell as text without surrounding whitespace; raises InvalidRowError for control characters."""
    try:
        text = value.strip() if type(value) is str else "" if casting.is_empty(value) else casting.text(value).strip()
    except ValueError as error:
        raise InvalidRowError(Reason.BAD_ROW, f"{column} is {display(value)}, which is not UTF-8") from error
    _require(text, column, missing)
    if not text.isprintable() and (control := casting.control_character(text)):
        raise InvalidRowError(Reason.BAD_ROW, f"{column} is {display(text)}; it must not contain {control}")
    return text


def _require(text: str, column: str, missing: Reason) -> str:
    if not text:
        raise InvalidRowError(missing, f"{column} is empty; fill it in or drop the row")
    return text


def _metadata(row: Mapping[str, Any], rules: RowRules) -> dict[str, Scalar]:
    metadata: dict[str, Scalar] = {}
    for typed in rules.typed:
        metadata[typed.field.name] = typed.value(row.get(typed.source))
    if rules.keeps_others and not row.keys() <= rules.hidden:
        others = {name: casting.json_scalar(value) for name, value in row.items() if name not in rules.hidden}
        metadata |= _check_size({name: value for name, value in others.items() if value is not None})
    return metadata


def _check_size(others: dict[str, Scalar]) -> dict[str, Scalar]:
    """Return `others`; raises InvalidRowError if they exceed the dynamic field, which would fail a whole upsert."""
    roughly = sum(len(name) + len(str(value)) + 6 for name, value in others.items())
    if roughly * 6 > MAX_DYNAMIC:  # a character is 6 bytes at most, \u0000 being the longest
        # A text is no shorter as JSON, and writing megabytes of it for each of many rows would take minutes.
        size = roughly if roughly > _CLEARLY_TOO_LONG else len(json.dumps(others, ensure_ascii=False).encode())
        if size > MAX_DYNAMIC:
            longest = max(others, key=lambda name: len(str(others[name])))
            most = f"most of them in {display(longest)}"
            detail = f"columns outside the contract take {size} bytes, {most}; at most {MAX_DYNAMIC}"
            raise InvalidRowError(Reason.BAD_METADATA, detail)
    return others


def row_rules(contract: Contract, columns: Columns) -> RowRules:
    """Return the rules for rows of a catalog with these columns."""
    own = {"product_id": columns.product_id, "image": columns.image}
    signs = DecimalSigns(columns.options)
    typed = []
    for field in contract.fields:
        convert = casting.converter(field)
        default = field.default if field.default is None else convert(field.default)
        safe_length = casting.safe_length(field.max_length) if field.type == "VARCHAR" else 0
        source = own.get(field.column, field.column)
        of_numbers = None if field.type == "VARCHAR" else signs
        typed.append(TypedColumn(field, source, convert, default, safe_length, of_numbers))
    hidden = contract.taken_names | {columns.product_id, ""} | {column.source for column in typed}
    others = contract.keeps_others
    columns = replace(columns, more_images=contract.images.columns)
    return RowRules(columns, contract.id_max_length, tuple(typed), hidden, others, signs, contract.images)


def image_fields(contract: Contract, image_column: str) -> tuple[str, ...]:
    """Return the names under which a product's metadata has its image: typed fields, or its column's own."""
    typed = tuple(field.name for field in contract.fields if field.column in ("image", image_column))
    return typed or (image_column,)
