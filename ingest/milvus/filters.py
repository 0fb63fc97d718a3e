"""Milvus filter expressions: writes them, and finds the field names in a user's."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ingest.core.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Mapping

    from ingest.core.records import Scalar

# https://milvus.io/docs/boolean.md
_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r"})
_RESERVED = frozenset({
    "and", "or", "not", "in", "like", "is", "null", "true", "false", "exists", "iso", "interval", "threshold",
    "minimum_should_match", "text_match", "phrase_match", "random_sample", "element_filter",
    *(f"{kind}_contains{which}" for kind in ("json", "array") for which in ("", "_all", "_any")), "array_length",
    *(f"match_{which}" for which in ("all", "any", "least", "most", "exact")),
    *(f"st_{which}" for which in ("equals", "touches", "overlaps", "crosses", "contains", "intersects", "within",
                                  "dwithin", "isvalid")),
})  # fmt: skip
"""Words of the grammar of filters, in lower case (internal/parser/planparserv2/Plan.g4 of Milvus, to 3.0)."""
_WORDS = frozenset({"and", "or", "not", "in", "like", "exists", "true", "false", "is", "null"})
_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<number>\d[\w.]*)"""
    r"""|\$meta\s*\[\s*(?P<quote>["'])(?P<key>(?:(?!(?P=quote))[^\\]|\\.)*)(?P=quote)\s*\]"""
    r"""|(?P<name>[A-Za-z_$][\w$]*)(?P<called>\s*\()?"""
)


_SINGLE_EQUALS = re.compile(r"(?<![=!<>])=(?![=~])")
_COMPARISON = re.compile(
    r"""(?:(?<![\w$"'])(?P<name>[A-Za-z_]\w*)|\$meta\s*\[\s*(?P<quote>["'])(?P<key>[^"']+)(?P=quote)\s*\])"""
    r"""\s*(?P<operator>==|!=|<=|>=|<|>)\s*"""
    r"""(?P<value>-?\d[\w.]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
)
_NUMBERS = frozenset({"INT64", "FLOAT", "DOUBLE"})


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


def explain(expression: str, types: Mapping[str, str]) -> str:
    """Return what is wrong with an expression that Milvus refuses, "" if unknown; `types` are the fields' types."""
    bare = _TOKEN.sub(lambda token: "_" * len(token[0]) if token["text"] else token[0], expression)
    if single := _SINGLE_EQUALS.search(bare):
        return f"write == to compare: {expression[: single.start()].rstrip()} == {expression[single.end() :].lstrip()}"
    for name, operator, value in _comparisons(expression):
        kind, is_text = types.get(name), value[0] in "\"'"
        if kind == "VARCHAR" and not is_text:
            return f'{name} is text, so its value needs quotes: {name} {operator} "{value}"'
        if kind in _NUMBERS and is_text:
            return f"{name} is a number, so its value has no quotes: {name} {operator} {value[1:-1] or 0}"
    return ""


def compared_with_numbers(expression: str) -> list[str]:
    """Return the names in an expression that are compared with a number, each once, in order."""
    found = [name for name, _, value in _comparisons(expression) if value[0] not in "\"'"]
    return list(dict.fromkeys(found))


def _comparisons(expression: str) -> Iterator[tuple[str, str, str]]:
    """Yield the field's name, the operator and the value of each `name operator value` in an expression."""
    for found in _COMPARISON.finditer(expression):
        yield found["name"] or found["key"], found["operator"], found["value"]


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a guess at the name that was meant, as words to put after a message, or ""."""
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def all_of(*expressions: str) -> str:
    """Return an expression for rows that match all of these; empty ones are left out."""
    given = [expression for expression in expressions if expression.strip()]
    return given[0] if len(given) == 1 else " and ".join(f"({expression})" for expression in given)


def among(name: str, values: Collection[Scalar]) -> str:
    """Return an expression for rows whose field, written as `field` returns it, is one of these values.

    pymilvus' own way breaks on a quote, and Milvus Lite takes no `in` after a key of the dynamic field.
    """
    if _is_key(name) and values:
        return " or ".join(f"{name} == {literal(value)}" for value in values)
    return " or ".join(f"{name} in {some}" for some in _lists(values) or ["[]"])


def not_among(name: str, values: Collection[Scalar]) -> str:
    """Return an expression for rows whose field is none of these values; "" if there are none."""
    if _is_key(name):
        return " and ".join(f"{name} != {literal(value)}" for value in values)
    return " and ".join(f"{name} not in {some}" for some in _lists(values))


def _is_key(name: str) -> bool:
    return name.startswith("$meta[")


def _lists(values: Collection[Scalar]) -> list[str]:
    """Return values as lists of one type: a column of the dynamic field may hold several, which servers refuse."""
    by_type: dict[type, list[str]] = {}
    for value in values:
        by_type.setdefault(type(value), []).append(literal(value))
    return [f"[{', '.join(some)}]" for some in by_type.values()]


def literal(value: Scalar) -> str:
    r"""Return a value as it is written in an expression.

    Control characters but the ends of lines stay as they are: Milvus Lite does not read \b, \f and \u0007, and servers
    read the characters themselves.
    """
    return json.dumps(value) if not isinstance(value, str) else f'"{value.translate(_ESCAPES)}"'


def field(name: str, typed: Container[str]) -> str:
    """Return a field's name as it is written in an expression, `typed` being the names of the contract's fields.

    Another name is a key of the dynamic field, and must be written as one if it is no identifier, or a word of Milvus'
    filters. Raises QueryError for a key that cannot be written: servers read no escapes in keys.
    """
    if name in typed or (re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) and name.lower() not in _RESERVED):
        return name
    quote = "'" if '"' in name else '"'
    if quote in name or re.search(r"[\\\r\n]|\]\[", name):
        raise QueryError(f"{name!r} cannot be written in a filter of Milvus; give the column a plainer name")
    return f"$meta[{quote}{name}{quote}]"
