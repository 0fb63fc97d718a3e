"""Several questions answered at once, by whatever can be searched; and the questions of a file."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from ingest.core.errors import QueryError
from ingest.images.decode.sandbox import Sandbox
from ingest.images.urls import host
from ingest.runtime.atomic_files import reason
from ingest.search.query import Query, vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.core.contract import Space
    from ingest.search.milvus_backend import Hit
    from ingest.search.query import QueryModel

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_WEIGHTS = ("text_weight", "image_weight", "product_weight")
_KEYS = ("name", "text", "image", "product_id", *_WEIGHTS, "filter", "limit")
_MAX_LIMIT = 1000


class SearchBackend(Protocol):
    """Where vectors are searched for: the served collection, or the exported files."""

    def check(self, space: Space) -> None:
        """Raise ModelError where vectors of `space` mean nothing here."""

    def vectors(self, product_ids: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Return the products' unit vectors by id."""

    def searches(
        self, vectors: Sequence[NDArray[Any]], limit: int, expression: str = "", without: Collection[str] = ()
    ) -> list[list[Hit]]:
        """Return the hits for each of several unit vectors, best first."""


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query as a person put it: `name` is what the answer stands under."""

    name: str
    query: Query


def answer_queries(place: SearchBackend, model: QueryModel, queries: Sequence[Query]) -> list[list[Hit]]:
    """Return the hits for each query, in order; those alike in all but their vector go in one call.

    A product that was asked for is left out of its own hits. Raises QueryError, and ModelError where the model is
    not that of the place.
    """
    if any(query.needs_model for query in queries):
        place.check(model.space)
    with Sandbox() as sandbox:
        found = vectors(queries, model, place.vectors, sandbox)
    together: dict[tuple[str, int, str], list[int]] = {}
    for number, query in enumerate(queries):
        together.setdefault((query.expression, query.limit, query.product_id), []).append(number)
    hits: list[list[Hit]] = [[] for _ in queries]
    for (expression, limit, product_id), numbers in together.items():
        without = [product_id] if product_id else []
        some = place.searches([found[number] for number in numbers], limit, expression, without)
        for number, one in zip(numbers, some, strict=True):
            hits[number] = one
    return hits


def read_queries(path: Path, defaults: Query, fetch: Callable[[str], Path]) -> list[NamedQuery]:
    """Read queries from a CSV, TSV or JSON Lines file, a row each; what a row leaves out is as in `defaults`.

    Columns are name, text, image, product_id, text_weight, image_weight, product_weight, filter and limit. Pictures
    are paths from the file's folder, or URLs, which `fetch` gets. Raises QueryError naming the line.
    """
    asked = []
    for line, row in _rows(path):
        try:
            asked.append(_asked(row, line, path, defaults, fetch))
        except QueryError as error:
            raise QueryError(f"{path} line {line}: {error}") from error
    if not asked:
        raise QueryError(f"{path}: no queries in it; give it a line for each")
    return asked


def _asked(row: Mapping[str, Any], line: int, path: Path, defaults: Query, fetch: Callable[[str], Path]) -> NamedQuery:
    for key in row:
        if key not in _KEYS:
            raise QueryError(f"{key!r} is no column of a query; known: {', '.join(_KEYS)}")
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
        raise QueryError(f"limit is {query.limit}; 1 to {_MAX_LIMIT}")
    if not (text or image or product_id):
        raise QueryError("nothing is asked for; give a text, an image or a product_id")
    return NamedQuery(
        str(given.get("name", "")) or " + ".join(filter(None, (text, image, product_id))) or str(line), query
    )


def _number(value: Any, key: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise QueryError(f"{key} is {value!r}, which is no number") from None


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    kind = path.suffix.lower()
    if kind not in (*_DELIMITERS, *_JSON_LINES):
        raise QueryError(f"{path}: unknown ending; queries come as {', '.join((*_DELIMITERS, *_JSON_LINES))}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if kind in _JSON_LINES:
                yield from _json_rows(path, file)
                return
            table = csv.DictReader(file, delimiter=_DELIMITERS[kind], strict=True)
            for row in table:
                if None in row:
                    raise QueryError(f"{path} line {table.line_num}: more cells than the header has columns")
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
            raise QueryError(f'{path} line {number}: an object is needed, such as {{"text": "red mug"}}')
        yield number, row
