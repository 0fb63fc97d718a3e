"""An answer names a product once: hits folded by their product, or by a field that says which products are one item.

On the client, because Milvus 2.3 ignores `group_by_field` silently and Milvus Lite returns fewer groups than there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from ingest.core.records import Scalar
    from ingest.search.backend import Hit

Key: TypeAlias = "tuple[str, Hashable]"
"""What a hit is folded by: "" and its product id, or a field and its value."""

_WIDER = 4  # times as many hits are asked for in each further round


def first_count(limit: int) -> int:
    """Return how many hits to ask for so that one call is nearly always enough for `limit` products."""
    return 2 * limit + 8


def key_of(hit: Hit, field: str) -> Key:
    """Return what a hit is folded by; without a `field`, or without a value in it, its product."""
    value: Scalar | None = hit.metadata.get(field) if field else None
    return ("", hit.product_id) if value in (None, "") else (field, value)


def values_of(keys: Iterable[Key], field: str) -> list[Scalar]:
    """Return the values of a field, or the product ids if that is "", among keys, to leave out."""
    return [value for name, value in keys if name == field]  # type: ignore[misc]


def fold(
    hits: Sequence[Hit], asked: int, limit: int, most: int, field: str,
    ask: Callable[[int, Sequence[Key]], Sequence[Hit]],
) -> list[Hit]:  # fmt: skip
    """Return the best hit of each of the `limit` best products or items, best first.

    `hits` is the answer to a request for `asked` hits, best first. If it has too few products, `ask` is called with a
    larger number, at most `most`, and with the keys found so far, for the best hits without those; until there are
    enough, or no more. If the answers are those of an exhaustive search, so is the result.
    """
    found: dict[Key, Hit] = {}
    while True:
        known = len(found)
        for hit in hits:
            found.setdefault(key_of(hit, field), hit)
        if len(found) >= limit or len(hits) < asked or (asked >= most and len(found) == known):
            break
        asked = min(_WIDER * asked, most)
        hits = ask(asked, list(found))
    # An approximate search may find a better one when it looks again.
    return sorted(found.values(), key=lambda hit: -hit.score)[:limit]
