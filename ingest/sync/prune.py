"""Which rows may be deleted: of products that left the catalog, or that fail now, and never too many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.errors import ConfigError
from ingest.sync.guard import MOST_LOST, guard
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.core.settings import Settings
    from ingest.sync.diff import CollectionDiff
    from ingest.sync.guard import Loss
    from ingest.sync.inventory import Inventory

_NOT_OURS = (RowState.FOREIGN, RowState.DOUBLE)


@dataclass(frozen=True, slots=True)
class PrunePolicy:
    """What the user allows: rows in these `states` are deleted, but at most this `share` of the rows ingest wrote.

    With `allows_fewer` it does not matter what apps found in the last seven runs.
    """

    states: frozenset[RowState]
    share: float = MOST_LOST
    allows_fewer: bool = False

    @classmethod
    def of(cls, settings: Settings) -> PrunePolicy:
        """Return what the settings allow; raises ConfigError if they contradict each other."""
        if settings.prune and settings.sample:
            raise ConfigError("--prune with --sample: products outside the sample would count as gone; leave one out")
        if not 0 <= settings.max_prune <= 1:
            raise ConfigError(f"max_prune {settings.max_prune}: must be a share from 0 to 1")
        allowed = {RowState.GONE: settings.prune, RowState.FAILED: settings.drop_failed}
        states = frozenset(state for state, is_allowed in allowed.items() if is_allowed)
        return cls(states, settings.max_prune, settings.allow_smaller)

    def refusal(self, difference: CollectionDiff) -> str:
        """Return why nothing may be deleted, or ""; a truncated catalog must never empty a shop.

        If the run fills another collection than the served one, both are asked about: apps lose what is not taken over
        from the one, and a rollback finds what is not deleted from the other.
        """
        losses = self.losses(difference)
        if not any(loss.lost for loss in losses):
            return ""
        if reasons := [*self._unreadable(difference), *difference.obstacles]:
            return "; ".join(reasons)
        return next((self._say(loss) for loss in losses if loss.reason), "")

    def losses(self, difference: CollectionDiff) -> list[Loss]:
        """Return what the collection would lose by this policy and, if that is another one, what apps would."""
        inventory, served = difference.inventory, difference.served
        if served is None:
            return [self._loss(inventory)]
        if served.rows is not inventory:
            return [self._loss(inventory), self._loss(served.rows)]
        lost = inventory.count(*self.states)
        found = served.count - lost + difference.added
        return [self._loss(inventory, 0 if self.allows_fewer else served.most, found)]

    def _unreadable(self, difference: CollectionDiff) -> list[str]:
        """Return that rows which seem gone may be products in rows that cannot be read, if so."""
        gone = max(difference.gone, difference.served.rows.count(RowState.GONE) if difference.served else 0)
        if RowState.GONE in self.states and gone and difference.unreadable:
            rows = f"{difference.unreadable} rows of the catalog cannot be read"
            fix = "fix those rows (skipped.csv has their lines)"
            return [f"{rows}, and each of the {gone} products that seem gone may be in one of them; {fix}"]
        return []

    def drops_failed(self, difference: CollectionDiff) -> bool:
        """Return whether rows of failing products are deleted; then the exports drop them, too."""
        return RowState.FAILED in self.states and not self.refusal(difference)

    def deleted(self, difference: CollectionDiff) -> frozenset[RowState]:
        """Return the states of the rows that are deleted; none if that is refused."""
        return frozenset() if self.refusal(difference) else self.states

    def ids(self, difference: CollectionDiff) -> Iterator[str]:
        """Yield the ids of the products whose rows are deleted; none if that is refused."""
        yield from (product_id for product_id, _ in difference.inventory.ids(self.deleted(difference)))

    def changes(self, difference: CollectionDiff, *, gone: bool) -> Iterator[tuple[str, str]]:
        """Yield (product id, what happens to its row) for stale rows and, with `gone`, rows not in the catalog."""
        deleted = self.deleted(difference)
        words = {RowState.GONE: "gone", RowState.FAILED: "stale"}
        for product_id, state in difference.inventory.ids(words if gone else {RowState.FAILED}):
            yield product_id, words[state] + (", deleted" if state in deleted else "")

    def _loss(self, rows: Inventory, high_water: int = 0, found: int | None = None) -> Loss:
        ours = rows.states[~np.isin(rows.states, _NOT_OURS)]
        return guard(np.isin(ours, list(self.states)), high_water, self.share, found=found)

    def _say(self, loss: Loss) -> str:
        what = f"{loss.lost} of {loss.served} rows would be deleted"
        if loss.is_at_once:
            return (
                f"{what}, more than --max-prune {self.share:g} allows; check changes.csv, and raise --max-prune if "
                "that is right"
            )
        return f"{what}, {loss.reason}; check changes.csv, and pass --allow-smaller if that is right"
