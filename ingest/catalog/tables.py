"""Tables as shop software exports them, known by their headers; a new one starts here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ingest.catalog import google, shopify, woocommerce
from ingest.catalog.rows import DEFAULT_ID, DEFAULT_IMAGE
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.rows import Columns, RowBlock

EXACT, KNOWN, SIMILAR = 3, 2, 1
"""How well a header fits: it has the two columns, it is a shop's, or the columns differ in upper and lower case."""


class ShopTable(Protocol):
    """A shop's table: a module with these names."""

    @property
    def NAME(self) -> str:  # noqa: N802
        """What --format says."""

    @property
    def IDS(self) -> tuple[str, ...]:  # noqa: N802
        """The columns that may be the id, that which is used by itself first."""

    def find_columns(self, names: Sequence[str], /) -> Mapping[str, str] | None:
        """Return the names of ours and the table's columns that hold them; None for the header of another table."""

    def merge(self, blocks: Iterator[RowBlock], columns: Columns, /) -> Iterator[RowBlock]:
        """Yield the products of the table's rows, under our names."""


TABLES: tuple[ShopTable, ...] = (shopify, woocommerce, google)


_OURS = frozenset({"product_id", "image", "title", "price", "brand", "category", "colour"})
"""The names that the built-in contract has."""


class Header(NamedTuple):
    """The names of a table's columns, ours in place of the table's own, and the table, if it is a shop's."""

    names: list[str]
    table: ShopTable | None = None


def fit(names: Sequence[str], columns: Columns) -> int:
    """Return how well a header fits the columns that are looked for; 0 if not at all."""
    if {columns.product_id, columns.image} <= set(names):
        return EXACT
    if find_table(names, columns) is not None:
        return KNOWN
    return SIMILAR * (columns.are_default and _renames_by_case(names, columns) is not None)


def find_table(names: Sequence[str], columns: Columns) -> ShopTable | None:
    """Return the shop's table that a header is of, if an id column of its own is meant."""
    asked = columns.options.format
    for table in TABLES:
        if asked not in ("", table.NAME):
            continue
        found = table.find_columns(names)
        if found is not None and (
            columns.are_default
            or columns.product_id in (found["product_id"], *table.IDS)
            or (columns.product_id == DEFAULT_ID and DEFAULT_ID not in names)
        ):
            return table
    return None


def read_header(names: list[str], file: CatalogFile, columns: Columns) -> Header:
    """Return a header with our names, which leave out what the table has under our name already.

    If a column was named by hand, the others keep the names that the table has, but for an id or image that was not.
    Raises CatalogError if --format names a table that it is not of.
    """
    table = find_table(names, columns)
    asked = columns.options.format
    if asked in {table.NAME for table in TABLES} and table is None:
        raise CatalogError(f"{file}: does not have the columns of --format {asked}; leave --format out")
    if {columns.product_id, columns.image} <= set(names):
        return Header(names, None if columns.are_default else table)
    if table is None and not columns.are_default:
        return Header(names)
    renames = (table.find_columns(names) if table else _renames_by_case(names, columns)) or {}
    unnamed = {DEFAULT_ID, DEFAULT_IMAGE} & {columns.product_id, columns.image}
    wanted = renames.keys() if columns.are_default else unnamed
    own = {theirs: ours for ours, theirs in renames.items() if ours in wanted and ours not in names}
    return Header([own.get(name, name) for name in names], table)


def _renames_by_case(names: Sequence[str], columns: Columns) -> dict[str, str] | None:
    """Return our names and those of a table that spells them otherwise: Product_ID, Product ID; None if not all."""
    found: dict[str, str] = {}
    for name in names:
        plain = name.lower().replace(" ", "_").replace("-", "_")
        if plain in found:
            return None
        if plain in _OURS:
            found[plain] = name
    return found if {columns.product_id, columns.image} <= found.keys() else None
