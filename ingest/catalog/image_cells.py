"""The images that a cell of the catalog names: one, a list, or several in a text.

A URL may contain any separator but a line break. What can be read in two ways is refused, never guessed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ingest.catalog.casting import display

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.core.image_list import ImageList

_URL = re.compile(r"(?:[a-z][a-z0-9+.-]+:)?//|www\.", re.IGNORECASE)
_SEVERAL_URLS = re.compile(r"(?:https?:)?//[^\0]*?([\s,;|])\s*https?://", re.IGNORECASE)
ENDING = r"\.(?:jpe?g|jpe|jfif|png|webp|gif|bmp|tiff?|avif|hei[cf]|jp2|jxl|svg)"
"""A regular expression for how names of images end, in lower case; also of kinds that cannot be read."""
_ENDING = re.compile(ENDING + "$", re.IGNORECASE)
_LISTS = (list, tuple)


class AmbiguousCellError(ValueError):
    """A cell that may name one image or several, or that is a list of something else; the message says which."""


def are_single(column: Sequence[Any], rule: ImageList) -> bool:
    """Return whether no cell of a column can name more than one image, which is so in nearly all blocks."""
    texts = [cell for cell in column if isinstance(cell, str)]
    if len(texts) < len(column) and any(isinstance(cell, _LISTS) for cell in column):
        return False
    joined = "\0".join(texts)
    if "[" in joined:
        return False
    return rule.separator not in joined if rule.separator else rule.separator == "" or not _several(joined)


def split(cell: Any, rule: ImageList) -> list[Any]:
    """Return the images that a cell names, as its file has them; a cell that is not text is one.

    Raises AmbiguousCellError.
    """
    listed = cell if isinstance(cell, _LISTS) else _json_list(cell)
    if listed is not None:
        return [_item(item) for item in listed if item is not None]
    if not isinstance(cell, str) or rule.separator == "":
        return [cell]
    if rule.separator is None:
        if found := _several(cell):
            between = json.dumps(found[1], ensure_ascii=False)
            raise AmbiguousCellError(
                f"seems to hold several addresses; name what is between them in the schema: [images] separator = "
                f'{between}, or "" if it is one address'
            )
        return [cell]
    return _split(cell, rule.separator)


def _several(text: str) -> re.Match[str] | None:
    return _SEVERAL_URLS.search(text) if "//" in text else None


def _json_list(cell: Any) -> list[Any] | None:
    text = cell.strip() if isinstance(cell, str) else ""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None  # a name in brackets
    return found if isinstance(found, list) else None


def _item(item: Any) -> str | bytes:
    if not isinstance(item, str | bytes):
        raise AmbiguousCellError(f"is a list with {display(item)}; a list of images holds URLs or paths")
    return item


def _split(text: str, separator: str) -> list[str]:
    """Return the pieces of a text; one that does not begin as a URL does may belong to the URL before it."""
    found: list[str] = []
    for piece in text.split(separator):
        name = piece.strip()
        if not name:
            continue
        if found and _URL.match(found[-1]) and not _URL.match(name):
            is_image = _ENDING.search(found[-1].partition("?")[0]) and _ENDING.search(name.partition("?")[0])
            if is_image or piece[0].isspace() or found[-1][-1:].isspace():
                raise AmbiguousCellError(
                    f"may go on with {display(separator + name)} or name another image; write whole URLs, or put "
                    "another separator between them"
                )
            found[-1] += separator + piece.rstrip()
        else:
            found.append(name)
    _check_names([name for name in found if not _URL.match(name)], separator)
    return found


def _check_names(names: list[str], separator: str) -> None:
    """Raise AmbiguousCellError if some of several names have an image's ending and others have not."""
    bare = next((name for name in names if not _ENDING.search(name)), None)
    if len(names) > 1 and bare is not None and any(map(_ENDING.search, names)):
        raise AmbiguousCellError(
            f"may name {display(bare)}, or a file whose name contains {display(separator)}; put another separator "
            "between the images"
        )
