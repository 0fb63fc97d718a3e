"""Which rows may be deleted: of products that left the catalog, or that fail now, and never too many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.core.errors import ConfigError
from ingest.sync.inventory import RowState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.core.settings import Settings
    from ingest.sync.diff import CollectionDiff


@dataclass(frozen=True, slots=True)
class PrunePolicy:
    """What the user allows: rows in these `states` are deleted, but at most this `share` of the rows ingest wrote."""

    states: frozenset[RowState]
    share: float

    @classmethod
    def of(cls, settings: Settings) -> PrunePolicy:
        """Return what the settings allow; raises ConfigError if they contradict each other."""
        if settings.prune and settings.sample:
            raise ConfigError("--prune with --sample: products outside the sample would count as gone; leave one out")
        if not 0 <= settings.max_prune <= 1:
            raise ConfigError(f"max_prune {settings.max_prune}: must be a share from 0 to 1")
        allowed = {RowState.GONE: settings.prune, RowState.FAILED: settings.drop_failed}
        return cls(frozenset(state for state, is_allowed in allowed.items() if is_allowed), settings.max_prune)

    def refusal(self, difference: CollectionDiff) -> str:
        """Return why nothing may be deleted, or ""; a truncated catalog must never empty a shop."""
        rows = difference.there.count(*self.states)
        if not rows:
            return ""
        if reasons := [*self._unreadable(difference), *difference.obstacles]:
            return "; ".join(reasons)
        if rows > self.share * difference.ours:
            return (
                f"{rows} of {difference.ours} rows would be deleted, more than --max-prune {self.share:g} allows; "
                "check changes.csv, and raise --max-prune if that is right"
            )
        return ""

    def _unreadable(self, difference: CollectionDiff) -> list[str]:
        """Return that rows which seem gone, or failing, may be products in rows that cannot be read, if so."""
        fix = "fix those rows (skipped.csv has their lines)"
        if RowState.GONE in self.states and difference.gone and difference.unreadable:
            rows = f"{difference.unreadable} rows of the catalog cannot be read"
            return [f"{rows}, and each of the {difference.gone} products that seem gone may be in one of them; {fix}"]
        if RowState.FAILED in self.states and difference.stale and difference.torn:
            return [f"{difference.torn} rows of the catalog cannot be read, and their ids may be others; {fix}"]
        return []

    def drops_failed(self, difference: CollectionDiff) -> bool:
        """Return whether rows of failing products are deleted; then the exports drop them, too."""
        return RowState.FAILED in self.states and not self.refusal(difference)

    def ids(self, difference: CollectionDiff) -> Iterator[str]:
        """Yield the ids of the products whose rows are deleted; none if that is refused."""
        if not self.refusal(difference):
            yield from (product_id for product_id, _ in difference.there.ids(self.states))

    def changes(self, difference: CollectionDiff, *, gone: bool) -> Iterator[tuple[str, str]]:
        """Yield (product id, what happens to its row) for stale rows and, with `gone`, rows not in the catalog."""
        deleted = self.states if not self.refusal(difference) else frozenset()
        words = {RowState.GONE: "gone", RowState.FAILED: "stale"}
        for product_id, state in difference.there.ids(words if gone else {RowState.FAILED}):
            yield product_id, words[state] + (", deleted" if state in deleted else "")
