"""Query files: many queries as CSV, TSV or JSON Lines, one a row."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ingest.core.errors import QueryError
from ingest.core.redaction import redact
from ingest.images.urls import host
from ingest.runtime.atomic_files import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ingest.search.query import Query

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_WEIGHTS = ("text_weight", "image_weight", "product_weight")
_COLUMNS = ("name", "text", "image", "product_id", *_WEIGHTS, "filter", "limit")
_MAX_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query, and the name under which its hits are shown."""

    name: str
    query: Query


def read_queries(path: Path, defaults: Query, fetch: Callable[[str], Path]) -> list[NamedQuery]:
    """Read a CSV, TSV or JSON Lines file with a query in each row; `defaults` has the values that a row leaves out.

    Columns are name, text, image, product_id, text_weight, image_weight, product_weight, filter and limit. Images are
    paths relative to the file's folder, or URLs, which `fetch` downloads. Raises QueryError naming the line.
    """
    queries = []
    for line, row in _rows(path):
        try:
            queries.append(_query(row, path, defaults, fetch))
        except QueryError as error:
            raise QueryError(f"{path} line {line}: {error}") from error
    if not queries:
        raise QueryError(f"{path}: no queries in the file; write one in each row")
    return queries


def _query(row: Mapping[str, Any], path: Path, defaults: Query, fetch: Callable[[str], Path]) -> NamedQuery:
    for key in row:
        if key not in _COLUMNS:
            raise QueryError(f"{key!r} is not a column of a query; use one of {', '.join(_COLUMNS)}")
    given = {key: value for key, value in row.items() if value not in (None, "")}
    text, image, product_id = (str(given.get(key, "")) for key in ("text", "image", "product_id"))
    query = replace(
        defaults,
        text=text,
        image=(fetch(image) if host(image) else path.parent / image) if image else None,
        product_id=product_id,
        expression=str(given.get("filter", defaults.expression)),
        limit=int(_number(given.get("limit", defaults.limit), "limit")),
        **{key: _number(given[key], key) for key in _WEIGHTS if key in given},
    )
    if not 1 <= query.limit <= _MAX_LIMIT:
        raise QueryError(f"limit is {query.limit}; give 1 to {_MAX_LIMIT}")
    if not (text or image or product_id):
        raise QueryError("the query is empty; give a text, an image or a product_id")
    return NamedQuery(str(given.get("name", "")) or " + ".join(filter(None, (text, redact(image), product_id))), query)


def _number(value: Any, key: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise QueryError(f"{key} is {value!r}; give a number") from None


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    kind = path.suffix.lower()
    if kind not in (*_DELIMITERS, *_JSON_LINES):
        raise QueryError(f"{path}: unknown ending; name the file {', '.join((*_DELIMITERS, *_JSON_LINES))}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if kind in _JSON_LINES:
                yield from _json_rows(path, file)
                return
            table = csv.DictReader(file, delimiter=_DELIMITERS[kind], strict=True)
            for row in table:
                if None in row:
                    raise QueryError(f"{path} line {table.line_num}: more cells than columns in the header")
                yield table.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise QueryError(f"{path}: cannot be read ({reason(error)})") from error


def _json_rows(path: Path, lines: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise QueryError(f"{path} line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise QueryError(f'{path} line {number}: not a JSON object such as {{"text": "red mug"}}')
        yield number, row
