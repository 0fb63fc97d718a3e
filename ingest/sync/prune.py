"""Which rows may be deleted: those of products that left the catalog, or that fail now, and never too many."""

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
    """What the user allows: `fates` of rows to delete, and at most `share` of all that ingest wrote."""

    fates: frozenset[RowState]
    share: float

    @classmethod
    def of(cls, settings: Settings) -> PrunePolicy:
        """Return what the settings allow; raises ConfigError where they cannot be meant."""
        if settings.prune and settings.sample:
            raise ConfigError("--prune with --sample: all after the sample would count as gone; leave one out")
        if not 0 <= settings.max_prune <= 1:
            raise ConfigError(f"max_prune {settings.max_prune}: a share from 0 to 1 is needed")
        fates = {RowState.GONE: settings.prune, RowState.FAILED: settings.drop_failed}
        return cls(frozenset(fate for fate, asked in fates.items() if asked), settings.max_prune)

    def refusal(self, difference: CollectionDiff) -> str:
        """Return why nothing may be deleted, or ""; a truncated catalog must never empty a shop."""
        doomed = difference.there.count(*self.fates)
        if not doomed:
            return ""
        if RowState.GONE in self.fates and difference.gone and difference.unreadable:
            return (
                f"{difference.unreadable} rows of the catalog could not be read, and any of the {difference.gone} "
                "products that seem gone may have been in them; mend those rows (skipped.csv has their lines)"
            )
        if doomed > self.share * difference.ours:
            return (
                f"{doomed} of {difference.ours} rows would go, more than --max-prune {self.share:g} allows; "
                "look at changes.csv, and raise it if that is right"
            )
        return ""

    def drops_failed(self, difference: CollectionDiff) -> bool:
        """Return whether the rows of what fails are deleted, so that the exports do not keep them either."""
        return RowState.FAILED in self.fates and not self.refusal(difference)

    def ids(self, difference: CollectionDiff) -> Iterator[str]:
        """Yield the products whose rows go, where nothing is refused."""
        if not self.refusal(difference):
            yield from (product_id for product_id, _ in difference.there.ids(self.fates))

    def changes(self, difference: CollectionDiff, *, gone: bool) -> Iterator[tuple[str, str]]:
        """Yield (product id, what becomes of its row) for rows that are stale and, with `gone`, not in the catalog."""
        goes = self.fates if not self.refusal(difference) else frozenset()
        words = {RowState.GONE: "gone", RowState.FAILED: "stale"}
        for product_id, fate in difference.there.ids(words if gone else {RowState.FAILED}):
            yield product_id, words[fate] + (", deleted" if fate in goes else "")
