"""Notes about rows that stay though the catalog has no usable product for them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from ingest.core.wording import quantity
from ingest.sync.prune import PrunePolicy
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from ingest.core.settings import Settings
    from ingest.pipeline.report import Summary
    from ingest.sync.diff import CollectionDiff

_NAMED = 5  # products named in a note; changes.csv names them all


def notes(settings: Settings, difference: CollectionDiff, summary: Summary) -> list[str]:
    """Return a note for each kind of rows that stay, with what deletes them."""
    foreign = difference.inventory.count(RowState.FOREIGN)
    found = [f"kept {quantity(foreign, 'row')} that ingest did not write"] if foreign else []
    for state, rows, why in (
        (RowState.GONE, summary.gone, "not in the catalog (delete with --prune)"),
        (RowState.FAILED, summary.stale, "of products that fail now (delete with --drop-failed)"),
    ):
        if rows and state not in PrunePolicy.of(settings).states:
            named = ", ".join(product_id for product_id, _ in islice(difference.inventory.ids({state}), _NAMED))
            found.append(f"kept {quantity(rows, 'row')} {why}: {named}{', …' if rows > _NAMED else ''}")
    if summary.carried:
        whose = "of products that fail now or are not in the catalog"
        found.append(f"carried over {quantity(summary.carried, 'row')} from the collection that was served, {whose}")
    return found
