"""Google Merchant's attributes, which its feeds have as XML elements or as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ingest.catalog.rows import Columns, RowBlock

NAME = "google"
IDS = ("id",)
ADDITIONAL = "additional_image_link"
_OURS = {
    "product_id": IDS,
    "image": ("image_link",),
    "title": ("title",),
    "price": ("price",),
    "brand": ("brand",),
    "category": ("product_type", "google_product_category"),
    "colour": ("color", "colour"),
}
_NEEDED = ("product_id", "image", "title")


def find_columns(names: Sequence[str]) -> dict[str, str] | None:
    """Return our names and the feed's; None for another table. A feed writes `image link` or `image_link`."""
    plain = {_plain(name): name for name in reversed(names)}
    found = {
        ours: plain[next(one for one in theirs if one in plain)]
        for ours, theirs in _OURS.items()
        if any(one in plain for one in theirs)
    }
    return found if all(ours in found for ours in _NEEDED) else None


def merge(blocks: Iterator[RowBlock], columns: Columns) -> Iterator[RowBlock]:
    """Yield the rows of a feed of text with a list of images in the image column, the main one first."""
    for block in blocks:
        names = dict.fromkeys(block.columns)
        more = next((name for name in names if _plain(name) == ADDITIONAL), None)
        if more in (None, columns.image):
            yield block
            continue
        images = [
            [first, *_split(others)] if first else first
            for first, others in zip(block.column(columns.image), block.column(more), strict=True)
        ]
        yield block._replace(columns={**block.columns, columns.image: images})


def _plain(name: str) -> str:
    return name.lower().replace(" ", "_").removeprefix("g:")


def _split(cell: object) -> list[str]:
    """Return additional images: in text they are separated by commas, and commas within an address are escaped."""
    return [one.strip() for one in cell.split(",") if one.strip()] if isinstance(cell, str) else []
