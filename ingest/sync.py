"""What the catalog wants less what the collection has: the rows that differ. Pure; it knows neither disk nor server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.contract import row_digest
from ingest.records import Picture, Skipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping


@dataclass(slots=True)
class Difference:
    """What a pass has found so far. `wanted` counts products with a picture; `changed` and `added` are written."""

    wanted: int = 0
    unchanged: int = 0
    changed: int = 0
    added: int = 0


def changed(
    records: Iterable[Picture | Skipped],
    digests: MutableMapping[str, str],
    fingerprint: str,
    difference: Difference,
) -> Iterator[Picture | Skipped]:
    """Yield the pictures whose row is missing or differs, and every `Skipped`; drop what is in place already.

    `digests` maps product ids to the `row_digest` in the collection. An entry is taken out when its product has
    come by, skipped ones too, so that what is left at the end is what the catalog no longer names.
    """
    for record in records:
        if isinstance(record, Skipped):
            digests.pop(record.product_id, None)
            yield record
            continue
        difference.wanted += 1
        there = digests.pop(record.product.product_id, None)
        if there == row_digest(record.product, record.sha256, fingerprint):
            difference.unchanged += 1
            continue
        if there is None:
            difference.added += 1
        else:
            difference.changed += 1
        yield record
