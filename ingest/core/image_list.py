"""Several images a product: `[images]` of the contract, where they are in the catalog and which of them is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingest.core.field import FaultError, integer, no_others

MOST = 100
"""The most images of a product that a contract may name."""
_IN_URLS = frozenset("/\\:.%#?&=_-+@'\"[]()")  # characters that cannot be between images, because they are in them


@dataclass(frozen=True, slots=True)
class ImageList:
    """Where the images of a product are: the first usable one of them is the product's.

    `columns` of the catalog besides the image column, or with it, in order. `separator` is what is between the images
    in one cell, "" if a cell is one image, None if the contract does not say. At most `at_most` are tried.
    """

    columns: tuple[str, ...] = ()
    separator: str | None = None
    at_most: int = 10


ONE = ImageList()
"""What holds without a table `[images]`."""


def read(table: Any) -> ImageList:
    """Read the table `[images]`; raises FaultError."""
    no_others(table, {"columns", "separator", "at_most", "combine"}, "images.")
    combine = table.get("combine", "first")
    if combine == "each":
        raise FaultError('images.combine is "each", which this version of ingest does not know; write "first"')
    if combine != "first":
        raise FaultError(f'images.combine is {combine!r}; it must be "first"')
    columns = table.get("columns", [])
    if not isinstance(columns, list) or not all(isinstance(name, str) and name for name in columns):
        raise FaultError('images.columns must be a list of columns, such as ["image", "additional_image_link"]')
    if len(set(columns)) < len(columns):
        raise FaultError("images.columns names a column twice; remove one")
    separator = table.get("separator")
    if separator is not None:
        separator = _separator(separator)
    at_most = integer({"at_most": 10, **table}, "at_most", "images.", 1, MOST)
    return ImageList(tuple(columns), separator, at_most)


def _separator(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 3 or any(one.isalnum() or one in _IN_URLS for one in value):
        raise FaultError(
            f'images.separator is {value!r}; it must be what is between two images, such as "," "|" or "\\n", or ""'
        )
    return value.strip() or value[:1]
