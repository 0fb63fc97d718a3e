"""Text that no terminal, spreadsheet or browser obeys: escaped for lines, logs, JSON, CSV and HTML.

Escaped are control characters (C0, DEL, C1), separators of lines and paragraphs, lone surrogates, characters of
private use, and invisible characters (directions, zero width), except those that change how the text looks.
"""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any

from ingest.core import invisible_characters

if TYPE_CHECKING:
    from collections.abc import Callable

_CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # all but tab, LF and CR
_SURROGATES = "\ud800-\udfff"
_REST = f"\u2028\u2029\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd{_SURROGATES}{invisible_characters.CLASS}"
_LINE = re.compile(f"[\t\n\r{_CONTROLS}{_REST}]")
_LINES = re.compile(f"[\r{_CONTROLS}{_REST}]")
_CELL = re.compile(f"\r(?!\n)|[{_CONTROLS}{_REST}]")
_ID = re.compile(f"\r(?!\n)|[{_CONTROLS}{_SURROGATES}{invisible_characters.CLASS}]")
"""What no product id may have: ids of products pass unchanged."""
_PRINTABLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Invisible characters that `str.isprintable` takes for letters and marks."""
_IS_INVISIBLE = re.compile(f"[{_REST}]")

_FORMULA = re.compile(r"[=+@\t\r\n＝＋＠]|[-－](?![0-9.,]+\Z)")
"""Starts of cells that spreadsheets compute (https://owasp.org/www-community/attacks/CSV_Injection), not `-1.5`."""


def line(text: str) -> str:
    """Return a text for one line of a terminal: line breaks and tabs are shown as escapes too."""
    return text if _is_plain(text) else _escape(_LINE, text, _as_in_python)


def lines(text: str) -> str:
    """Return a text for a terminal or a log, with its lines and tabs."""
    return text if _is_plain(text.replace("\n", "")) else _escape(_LINES, text, _as_in_python)


def json_text(content: Any, indent: int | None = None, *, ascii_only: bool = False, default: Any = None) -> str:
    """Return JSON of the same content, its texts escaped by JSON's own rules; `default` as in `json.dumps`."""
    return in_json(json.dumps(content, ensure_ascii=ascii_only, indent=indent, default=default))


def in_json(text: str) -> str:
    """Return a JSON document of the same content, with texts escaped by JSON's own rules."""
    return text if _is_plain(text.replace("\n", "")) else _escape(_LINES, text, _as_in_json)


def csv_cell(value: Any) -> Any:
    """Return a cell of a CSV file; a text that a spreadsheet would compute gets a `'` before it, numbers stay."""
    if not isinstance(value, str):
        return value
    text = _escape(_CELL, value, _as_in_python)
    return f"'{text}" if _FORMULA.match(value) else text


def csv_id(product_id: str) -> str:
    """Return a product id for a column that programs read: unchanged, unless no product may have such an id."""
    return _escape(_ID, product_id, _as_in_python)


def html_text(text: str) -> str:
    """Return a text for an HTML element or an attribute in quotes."""
    return _escape(_LINES, html.escape(text), _as_in_html)


def _is_plain(text: str) -> bool:
    """Return whether there is nothing to escape: in a fifth of the time that the pattern takes to find nothing."""
    return text.isprintable() and (text.isascii() or _PRINTABLE.search(text) is None)


def _escape(pattern: re.Pattern[str], text: str, escaped: Callable[[str], str]) -> str:
    def replacement(found: re.Match[str]) -> str:
        character = found.group()
        return character if invisible_characters.shapes(text, found.start()) else escaped(character)

    return pattern.sub(replacement, text)


def _as_in_python(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _as_in_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _as_in_html(character: str) -> str:
    # HTML has no reference for controls (those for C1 mean letters of windows-1252) and for surrogates.
    is_text = _IS_INVISIBLE.match(character) and not "\ud800" <= character <= "\udfff"
    return f"&#x{ord(character):x};" if is_text else _as_in_python(character)
