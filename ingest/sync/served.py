"""What apps find through the alias when a run begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ingest.runtime.hash_index import ABSENT
from ingest.runtime.parallel import batched
from ingest.sync.high_water import HighWater
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from ingest.sync.guard import Loss
    from ingest.sync.inventory import Inventory

_BLOCK = 4096  # ids looked up at a time


@dataclass(slots=True)
class ServedRows:
    """The rows that apps find, and the most that they found in the last seven runs.

    If the run fills the served collection itself, `rows` is the inventory that it compares the catalog with.
    """

    rows: Inventory
    high_water: HighWater

    @property
    def count(self) -> int:
        """How many products apps find."""
        return int(np.count_nonzero(self.rows.products))

    @property
    def most(self) -> int:
        """The most products that apps found in the last seven runs, or find now."""
        return self.high_water.most(self.count)

    def after(self, loss: Loss, *, is_allowed: bool) -> HighWater:
        """Return the high water after a run with this loss, which was not refused.

        If the user has allowed more than the default, what apps found before does not count any more. It stays unknown
        as long as it says no more than the rows do.
        """
        found = self.high_water.add(self.count, loss.found, is_allowed=is_allowed or loss.needs_leave)
        return found if self.high_water.figures or found.figures != (loss.found,) else HighWater()

    def settle(self, catalog: Iterable[str], good: Iterable[str]) -> None:
        """Set the state of each row, if a run has filled another collection than the served one.

        A row is SAME if the product is among the `good` ones, which that collection has from today's catalog; FAILED if
        it is only in the `catalog`; else it stays GONE, or FOREIGN.
        """
        states = self.rows.states
        for block in batched(catalog, _BLOCK):
            at = self._places(block)
            states[at[states[at] == RowState.GONE]] = RowState.FAILED
        for block in batched(good, _BLOCK):
            states[self._places(block)] = RowState.SAME

    def lacking(self, catalog: Iterable[Sequence[str]], enough: int) -> tuple[NDArray[np.bool_], int, int]:
        """Return which products the blocks of a catalog's ids lack, (n,) bool; how many ids are new; and how many ids.

        The ids need not be distinct. The rest of the catalog is not read once it has `enough` of the products.
        """
        is_there = np.zeros(len(self.rows), bool)
        new = ids = 0
        for block in catalog:
            at = self._places(block)
            is_there[at] = True
            new, ids = new + len(block) - len(at), ids + len(block)
            if np.count_nonzero(is_there) >= enough:
                break
        return ~is_there[self.rows.products], new, ids

    def _places(self, product_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return the places of those that have a row."""
        at = self.rows.find(product_ids)
        found: NDArray[np.int64] = at[at != ABSENT]
        return found
