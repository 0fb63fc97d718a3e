"""Shopify's product export: rows that follow each other and share a handle are a product, its variants and images."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from ingest.catalog.rows import FileRow, RowBlock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ingest.catalog.rows import Columns

NAME = "shopify"
IDS = ("Handle", "URL handle")
_BLOCK = 1_024
_LAST = 10**9  # the position of an image without one
_OURS = {
    "product_id": IDS,
    "image": ("Image Src", "Product image URL"),
    "title": ("Title",),
    "price": ("Variant Price", "Price"),
    "brand": ("Vendor",),
    "category": ("Type", "Product Category", "Product category"),
}
_POSITION = ("Image Position", "Image position")
_SKU = ("Variant SKU", "SKU")
_VARIANT_IMAGE = ("Variant Image", "Variant image URL")
_OPTIONS = ("Option1 Value", "Option2 Value", "Option3 Value", "Option1 value", "Option2 value", "Option3 value")
GROUP = "item_group_id"
"""The column with the product's handle, where each variant is a product."""


def find_columns(names: Sequence[str]) -> Mapping[str, str] | None:
    """Return our names and the export's; None for another table."""
    found = {ours: next((one for one in theirs if one in names), "") for ours, theirs in _OURS.items()}
    if not (found["product_id"] and found["image"] and found["title"]):
        return None
    return {ours: theirs for ours, theirs in found.items() if theirs}


def merge(blocks: Iterator[RowBlock], columns: Columns) -> Iterator[RowBlock]:
    """Yield a row for each product: the cells of its first row, its least price and all its images, in their order.

    With the option `variants`, a row for each variant instead: its own cells, and those of the product where it has
    none. A row with a fault stays a row of its own.
    """
    merged = _variants if columns.options.variants else _product
    rows = (row for block in blocks for row in map(block.row, range(len(block.lines))))
    groups = groupby(rows, key=lambda row: row.cells.get(columns.product_id) or ("", row.line))
    made = chain.from_iterable(_split_faults(list(group), columns, merged) for _, group in groups)
    batch: list[FileRow] = []
    for row in made:
        batch.append(row)
        if len(batch) == _BLOCK:
            yield _block(batch)
            batch = []
    if batch:
        yield _block(batch)


def _split_faults(rows: list[FileRow], columns: Columns, merged: Any) -> Iterable[FileRow]:
    good = [row for row in rows if not row.fault]
    return [*(merged(good, columns) if good else []), *(row for row in rows if row.fault)]


def _product(rows: list[FileRow], columns: Columns) -> list[FileRow]:
    cells = dict(rows[0].cells)
    price = next((name for name in ("price", *_OURS["price"]) if name in cells), "")
    if price:
        cells[price] = _least([row.cells.get(price) for row in rows])
    cells[columns.image] = _images(rows, columns)
    doubt = "; ".join(filter(None, (row.doubt for row in rows)))
    return [FileRow(rows[0].line, cells, "", doubt)]


def _variants(rows: list[FileRow], columns: Columns) -> list[FileRow]:
    first, images = rows[0].cells, _images(rows, columns)
    made = []
    for row in rows:
        options = [str(row.cells[name]).strip() for name in _OPTIONS if row.cells.get(name)]
        sku = next((str(row.cells[name]).strip() for name in _SKU if row.cells.get(name)), "")
        if not (options or sku):
            continue  # a further image
        own = next((row.cells[name] for name in _VARIANT_IMAGE if row.cells.get(name)), None)
        cells = {name: cell or first.get(name) for name, cell in row.cells.items()}
        handle = str(row.cells.get(columns.product_id) or "")
        cells[GROUP] = handle
        cells[columns.product_id] = sku or "/".join([handle, *options])
        cells[columns.image] = [own, *images] if own else images
        made.append(FileRow(row.line, cells, "", row.doubt))
    return made or _product(rows, columns)


def _images(rows: list[FileRow], columns: Columns) -> list[Any]:
    position = next((name for name in _POSITION if name in rows[0].cells), "")
    found = [(row.cells.get(position), row.cells.get(columns.image)) for row in rows]
    numbered = [(int(str(place)) if str(place or "").isdecimal() else _LAST, image) for place, image in found if image]
    return [image for _, image in sorted(numbered, key=lambda one: one[0])]


def _least(prices: list[Any]) -> Any:
    """Return the least price, as it is written; the first one if one of them is no plain number."""
    filled = [price for price in prices if price]
    try:
        return min(filled, key=lambda price: Decimal(str(price).strip())) if filled else prices[0]
    except InvalidOperation:
        return prices[0]


def _block(rows: list[FileRow]) -> RowBlock:
    names = dict.fromkeys(name for row in rows for name in row.cells)
    cells = {name: [row.cells.get(name) for row in rows] for name in names}
    faults = {at: row.fault for at, row in enumerate(rows) if row.fault}
    doubts = {at: row.doubt for at, row in enumerate(rows) if row.doubt}
    return RowBlock([row.line for row in rows], cells, faults, doubts)
