"""Names in a filter that no product may have: Milvus finds nothing for them, without an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core.contract import PRIMARY_KEY
from ingest.milvus.filters import suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.search.backend import Hit
    from ingest.search.milvus_backend import SearchableCollection


def warnings(served: SearchableCollection, expression: str, hits: Sequence[Hit]) -> list[str]:
    """Return a warning for each name in the filter that neither the contract nor one of its hits has."""
    return [
        f"{name} is not a field of the contract{suggest(name, [PRIMARY_KEY, *served.fields])}; it matches only "
        "products with such a catalog column"
        for name in served.unknown_names(expression)
        if not any(name in hit.metadata for hit in hits)
    ]
