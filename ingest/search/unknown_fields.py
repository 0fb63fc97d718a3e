"""Columns in a filter that match nothing, without an error of Milvus: names that no product has, texts as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core.contract import PRIMARY_KEY
from ingest.milvus.filters import compared_with_numbers, suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.search.backend import Hit
    from ingest.search.milvus_backend import SearchableCollection


def warnings(served: SearchableCollection, expression: str, hits: Sequence[Hit]) -> list[str]:
    """Return a warning for each name in the filter that neither the contract nor one of its hits has."""
    unknown = [name for name in served.unknown_names(expression) if not any(name in hit.metadata for hit in hits)]
    compared = set(compared_with_numbers(expression))
    texts = set(served.text_columns([name for name in unknown if name in compared]))
    return [
        f"{name} is kept as text, which no number matches; write its value in quotes, or make it a number in the schema"
        if name in texts
        else f"{name} is not a field of the contract{suggest(name, [PRIMARY_KEY, *served.fields])}; it matches only "
        "products with such a catalog column"
        for name in unknown
    ]
