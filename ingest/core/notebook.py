"""Results as notebooks show them: small tables in HTML that load nothing, their texts escaped."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ingest.core import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_CELL = 'style="text-align:left;vertical-align:top"'
_NUMBER = 'style="text-align:right;vertical-align:top"'


def facts(title: str, values: Mapping[str, object]) -> str:
    """Return a table with a name and a value in each row; values that are empty or 0 are left out."""
    rows = ((name, value) for name, value in values.items() if value or value is False)
    body = "".join(f"<tr><th {_CELL}>{_text(name)}</th><td {_CELL}>{_value(value)}</td></tr>" for name, value in rows)
    return f"<table><caption>{_text(title)}</caption>{body}</table>"


def table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table with a heading; bytes are JPEGs, None is an empty cell."""
    head = "".join(f"<th {_CELL}>{_text(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def lines(head: str, more: Iterable[str]) -> str:
    """Return the text form of a result: a line, and others indented below it; no text in it controls a terminal."""
    return "\n  ".join(map(escape.line, [head, *more]))


def _cell(value: object) -> str:
    if isinstance(value, bytes):
        image = base64.b64encode(value).decode()
        shown = f'<img src="data:image/jpeg;base64,{image}" alt="">' if value else ""
        return f"<td {_CELL}>{shown}</td>"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"<td {_NUMBER if is_number else _CELL}>{_value(value)}</td>"


def _value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return "<br>".join(f"{_text(name)}: {_value(one)}" for name, one in value.items() if one)
    if isinstance(value, list | tuple):
        return "<br>".join(map(_value, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _text(str(value))


def _text(text: str) -> str:
    # Jupyter looks for TeX between dollars, also in HTML.
    return escape.html_text(text).replace("$", "&#36;")
