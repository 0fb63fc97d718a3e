"""The names under which a hit's metadata is shown, so that no catalog column can pass for one of ingest's own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.core.records import Scalar

OWN = ("query", "rank", "product_id", "score")
"""What ingest itself says about a hit, in every output format."""
PREFIX = "metadata."
_TAKEN = re.compile(f"({re.escape(PREFIX)})*({'|'.join(OWN)})")


def display_name(name: str) -> str:
    """Return the name that a column is shown under: `score` as `metadata.score`, that one with one more prefix.

    So no two columns ever share a name.
    """
    return PREFIX + name if _TAKEN.fullmatch(name) else name


def beside_own(metadata: Mapping[str, Scalar | None]) -> dict[str, Scalar | None]:
    """Return metadata under names that do not collide with ingest's own."""
    return {display_name(name): value for name, value in metadata.items()}
