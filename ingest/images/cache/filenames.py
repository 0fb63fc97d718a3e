"""Product ids as file names: unique on any file system, reversible, and unchanged for usual ids.

The file systems of macOS and Windows take `ABC` and `abc` for one name, so only one spelling of an id can stay as it
is. The id itself decides which: lower case for ids that are usually written so (those with `_` or more than 20
characters: `abc-1_2`, UUIDs, hex digests), upper case for the others (`P0017`, `SKU-001`, `B07XJ8C8F5`). Any other
spelling gets a bitmask of the letters that differ: `p0017~1`, `shoe~f`.
"""

from __future__ import annotations

import hashlib
import re
import string

_LETTERS = frozenset(string.ascii_letters)
_PLAIN = _LETTERS | frozenset(string.digits + "-_")
_CODE_LENGTH = 20  # longer ids are digests, UUIDs and phrases, usually in lower case
_MAX_NAME = 130  # with an extension still below the 143 bytes of eCryptfs; others allow 255
_PREFIX = 64
_EMPTY = "~0"
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]*")
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file: reserved with any extension, in any case
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|(?:COM|LPT)[0-9])", re.IGNORECASE)


def encode(product_id: str) -> str:
    """Return the file name, without extension, for any `product_id`: ASCII, at most 130 characters.

    Two ids never get the same name, not even if case is ignored. Characters other than letters, digits, `-` and `_`
    become `%XX` per UTF-8 byte. A longer name becomes its beginning and a SHA-256.
    """
    if not product_id:
        return _EMPTY
    pieces = [character if character in _PLAIN else _escape(character) for character in product_id]
    if _RESERVED.fullmatch(product_id):
        pieces[0] = _escape(product_id[0])
    mask = _mask(product_id, pieces)
    name = "".join(pieces) + (f"~{mask:x}" if mask else "")
    return name if len(name) <= _MAX_NAME else _shorten(product_id, pieces)


def decode(name: str) -> str:
    """Return the product id that `encode` made `name` from.

    Raises ValueError if the name is not from `encode`, or was shortened: then only the index knows the id.
    """
    text = "" if name == _EMPTY else re.sub(r"~[0-9a-f]+$", "", name)
    raw = re.sub(rb"%([0-9A-F]{2})", lambda match: bytes.fromhex(match[1].decode()), text.encode())
    product_id = raw.decode("utf-8", "surrogatepass")
    if encode(product_id) != name:
        raise ValueError(f"{name!r} is not the name of a product's image")
    return product_id


def is_safe(product_id: str) -> bool:
    """Whether the id itself is a valid file name on any system: other programs may fill the cache by id."""
    return (
        _SAFE.fullmatch(product_id) is not None
        and product_id[-1] not in ". "
        and len(product_id) <= _MAX_NAME
        and not _RESERVED.fullmatch(product_id.split(".", 1)[0].rstrip())
    )


def _escape(character: str) -> str:
    # JSON may contain a lone surrogate, which is not valid text but still needs a name.
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _mask(product_id: str, pieces: list[str]) -> int:
    """Return a bitmask of the letters that are not in the id's usual case; the first letter is the lowest bit."""
    usual = str.islower if "_" in product_id or len(product_id) > _CODE_LENGTH else str.isupper
    letters = [piece for piece in pieces if piece in _LETTERS]
    return sum(1 << place for place, letter in enumerate(letters) if not usual(letter))


def _shorten(product_id: str, pieces: list[str]) -> str:
    digest = hashlib.sha256(product_id.encode("utf-8", "surrogatepass")).hexdigest()
    kept = ""
    for piece in pieces:
        if len(kept) + len(piece) > _PREFIX:
            break
        kept += piece
    return f"{kept}~~{digest}"
