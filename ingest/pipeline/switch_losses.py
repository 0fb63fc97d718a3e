"""What apps would find, and lose, if the alias switched to the collection of this run; the rows carried over for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ingest.milvus import writer
from ingest.milvus.served import ServedCollection
from ingest.pipeline.carry_over import CarryOver
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.parallel import batched
from ingest.sync.guard import ANY, MOST_LOST, guard
from ingest.sync.prune import PrunePolicy
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from ingest.core.settings import Settings
    from ingest.milvus.collection import Collection
    from ingest.pipeline.pipeline import Pipeline
    from ingest.sync.diff import CollectionDiff
    from ingest.sync.guard import Loss
    from ingest.sync.high_water import HighWater
    from ingest.sync.inventory import Inventory

_BLOCK = 4096  # ids looked up at a time


@dataclass(frozen=True, slots=True)
class SwitchLosses:
    """A move of the alias: which of the served rows are `carried` over, (n,) bool.

    `reason` says in words why too much would be lost; "" if not. `high_water` is for the new collection to keep.
    """

    carried: NDArray[np.bool_]
    reason: str
    high_water: HighWater
    _rows: Inventory
    _carry_over: CarryOver

    @property
    def rows(self) -> int:
        """How many rows are carried over."""
        return int(self.carried.sum())

    def carry(self, pipeline: Pipeline, collection: Collection, written: Inventory) -> int:
        """Write the carried rows, add them to those `written`, and return how many they are."""
        for batch in self._carry_over.write(self.carried, pipeline.store):
            written.add(*writer.identities(batch, collection))
        words = {RowState.GONE: "gone", RowState.FAILED: "stale", RowState.FOREIGN: "foreign"}
        states = self._rows.states[self.carried].tolist()
        for product_id, state in zip(self._rows.where(self.carried), states, strict=True):
            pipeline.report.add_change(product_id, f"{words[RowState(state)]}, carried over")
        return self.rows


def weigh(
    pipeline: Pipeline, collection: Collection, target: str, difference: CollectionDiff, good: Iterable[str]
) -> SwitchLosses:
    """Find what a move of the alias from the collection `target` would lose; nothing is written.

    `good` are the products that the new collection has, or will have, from today's catalog. The states of the served
    rows are settled by it, which the prune policy goes by.
    """
    served, inventory, settings = difference.served, difference.inventory, pipeline.settings
    assert served is not None
    new = _Counted(good, inventory)
    served.settle((product_id for product_id, _ in pipeline.wanted.products()), new)
    deleted = list(PrunePolicy.of(settings).deleted(difference))
    carry_over = CarryOver(
        ServedCollection(collection.connection, target), served.rows, collection, inventory, settings
    )
    carried = carry_over.find(deleted)
    stays = inventory.products & ~np.isin(inventory.states, deleted)
    kept = (served.rows.states == RowState.SAME) | carried
    added = 0  # carried rows of products that the collection has no row of
    for block in batched(served.rows.where(carried | ~kept), _BLOCK):
        at, places = inventory.find(block), served.rows.find(block)
        is_there = at != ABSENT
        is_there[is_there] = stays[at[is_there]]
        added += int((carried[places] & ~is_there).sum())
        kept[places[is_there]] = True
    lost = ~kept & served.rows.products
    found = int(stays.sum()) + new.absent + added
    loss = guard(lost[served.rows.products], served.most, _allowed(settings, prunes=bool(deleted)), found=found)
    reason, after = _reason(loss, served.rows, lost), served.after(loss, is_allowed=settings.allow_smaller)
    return SwitchLosses(carried, reason, after, served.rows, carry_over)


class _Counted:
    """Passes ids on, and counts those that an inventory lacks: `absent`."""

    def __init__(self, ids: Iterable[str], inventory: Inventory) -> None:
        self._ids = ids
        self._inventory = inventory
        self.absent = 0

    def __iter__(self) -> Iterator[str]:
        for block in batched(self._ids, _BLOCK):
            self.absent += int((self._inventory.find(block) == ABSENT).sum())
            yield from block


def _allowed(settings: Settings, *, prunes: bool) -> float:
    """Return the share of the products that apps may lose by a move: at least what the user lets a prune delete."""
    if settings.allow_smaller:
        return ANY
    return max(MOST_LOST, settings.max_prune) if prunes else MOST_LOST


def _reason(loss: Loss, rows: Inventory, lost: NDArray[np.bool_]) -> str:
    if not loss.reason:
        return ""
    counts = (
        (int((rows.states[lost] == RowState.GONE).sum()), "not in the catalog"),
        (int((rows.states[lost] == RowState.FAILED).sum()), "fail today, or do not fit"),
        (int((rows.states[lost] == RowState.FOREIGN).sum()), "not written by ingest"),
    )
    why = ", ".join(f"{count:,} {what}" for count, what in counts if count)
    return f"apps would lose {loss.lost:,} of the {loss.served:,} products that they find ({why}), {loss.reason}"
