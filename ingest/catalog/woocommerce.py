"""WooCommerce's product export: a row for each product and each of its variations, all images in one cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ingest.catalog.rows import Columns, RowBlock

NAME = "woocommerce"
IDS = ("ID", "SKU")
_SIGNATURE = {"Type", "SKU", "Name", "Images"}
_OURS = {
    "product_id": IDS,
    "image": ("Images",),
    "title": ("Name",),
    "price": ("Regular price",),
    "brand": ("Brands", "Brand"),
    "category": ("Categories",),
    "colour": (),
}
_VARIATION = "variation"


def find_columns(names: Sequence[str]) -> Mapping[str, str] | None:
    """Return our names and the export's; None for another table."""
    if not set(names) >= _SIGNATURE:
        return None
    found = {ours: next((one for one in theirs if one in names), "") for ours, theirs in _OURS.items()}
    return {ours: theirs for ours, theirs in found.items() if theirs}


def merge(blocks: Iterator[RowBlock], columns: Columns) -> Iterator[RowBlock]:
    """Yield the products with a list of images; variations are left out unless each is to be a product."""
    for block in blocks:
        kinds = block.column("Type")
        kept = [
            at for at, kind in enumerate(kinds) if columns.options.variants or kind != _VARIATION or at in block.faults
        ]
        cells = {name: [column[at] for at in kept] for name, column in block.columns.items()}
        cells[columns.image] = [_split(cell) for cell in cells[columns.image]]
        places = {at: place for place, at in enumerate(kept)}
        faults = {places[at]: fault for at, fault in block.faults.items()}
        doubts = {places[at]: doubt for at, doubt in block.doubts.items() if at in places}
        if kept:
            yield block._replace(lines=[block.lines[at] for at in kept], columns=cells, faults=faults, doubts=doubts)


def _split(cell: object) -> object:
    """Return the images of a cell, which are separated by a comma and a space."""
    return [one.strip() for one in cell.split(", ") if one.strip()] if isinstance(cell, str) else cell
