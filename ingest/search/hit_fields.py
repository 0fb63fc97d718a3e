"""The names under which a hit's metadata is shown, so that no column of a catalog can pass for what ingest says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.core.records import Scalar

OWN = ("query", "rank", "product_id", "score")
"""What ingest itself says of a hit, in whatever form it is shown."""
PREFIX = "metadata."
_TAKEN = re.compile(f"({re.escape(PREFIX)})*({'|'.join(OWN)})")


def display_name(name: str) -> str:
    """Return the name a column is shown by: `score` as `metadata.score`, and `metadata.score` with one more prefix.

    So two columns never share a name, whichever others a row has.
    """
    return PREFIX + name if _TAKEN.fullmatch(name) else name


def beside_own(metadata: Mapping[str, Scalar | None]) -> dict[str, Scalar | None]:
    """Return metadata under names that may stand beside ingest's own."""
    return {display_name(name): value for name, value in metadata.items()}
