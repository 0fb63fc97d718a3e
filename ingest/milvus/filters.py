"""Milvus filter expressions: writes them, and finds the field names in a user's."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ingest.core.records import Scalar

# https://milvus.io/docs/boolean.md
_WORDS = frozenset({"and", "or", "not", "in", "like", "exists", "true", "false", "is", "null"})
_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<number>\d[\w.]*)"""
    r"""|\$meta\s*\[\s*(?P<quote>["'])(?P<key>(?:(?!(?P=quote))[^\\]|\\.)*)(?P=quote)\s*\]"""
    r"""|(?P<name>[A-Za-z_$][\w$]*)(?P<called>\s*\()?"""
)


def names(expression: str) -> list[str]:
    """Return the field names in an expression, each once, in order.

    A key of the dynamic field, `$meta["season"]`, counts as a name; functions, such as json_contains, do not.
    """
    found = []
    for token in _TOKEN.finditer(expression):
        if token["key"] is not None:
            found.append(token["key"])
        elif token["name"] and not token["called"] and token["name"].lower() not in _WORDS:
            found.append(token["name"])
    return list(dict.fromkeys(found))


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a guess at the name that was meant, as words to put after a message, or ""."""
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def all_of(*expressions: str) -> str:
    """Return an expression for rows that match all of these; empty ones are left out."""
    given = [expression for expression in expressions if expression.strip()]
    return given[0] if len(given) == 1 else " and ".join(f"({expression})" for expression in given)


def among(name: str, values: Collection[Scalar]) -> str:
    """Return an expression for rows whose field is one of these values.

    They are quoted as in JSON: pymilvus' own way breaks on a quote.
    """
    return f"{name} in {json.dumps(list(values), ensure_ascii=False)}"


def not_among(name: str, values: Collection[Scalar]) -> str:
    """Return an expression for rows whose field is none of these values; "" if there are none."""
    return f"{name} not in {json.dumps(list(values), ensure_ascii=False)}" if values else ""


def quote_field(name: str) -> str:
    """Return a field's name as it is written in an expression; one that is no identifier becomes a key of `$meta`."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else f"$meta[{json.dumps(name, ensure_ascii=False)}]"
