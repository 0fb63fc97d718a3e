"""Decides whether the alias may switch to the collection that this run has filled, and switches it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.errors import InterruptedRunError, VerificationError
from ingest.core.records import Reason, Stage
from ingest.milvus import checks, properties
from ingest.pipeline import switch_losses
from ingest.sync.prune import PrunePolicy
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Collection as States

    from ingest.core.records import Mismatch
    from ingest.milvus.collection import Collection
    from ingest.pipeline.pipeline import Pipeline
    from ingest.pipeline.switch_losses import SwitchLosses
    from ingest.sync.diff import CollectionDiff
    from ingest.sync.inventory import Inventory

_MISSING_SHARE = 0.01
"""If a larger share of images failed for transient reasons, a new collection does not replace one that has them."""
_CHECKED_VECTORS = 200  # checked before the alias switches; ids and digests are all checked
_WAITS = 3  # for the index: a compaction that ends just then has rows indexed again
_NAMED = 5  # differences named in the error; ingest verify shows them all


@dataclass(frozen=True, slots=True)
class Promotion:
    """What the alias `served` at the end, None for nothing.

    `fault` says why that is not this run's collection, and what to do; "" if it is, or if the user asked for it (with
    --sample). `note` is for the user.
    """

    served: str | None
    note: str = ""
    fault: str = ""


class AliasSwitch:
    """The switch of the alias to the collection that a run has filled, from the one that it `served`, or from none.

    `written` are the rows that the run has written; those carried over are added.
    """

    def __init__(
        self, pipeline: Pipeline, collection: Collection, difference: CollectionDiff, written: Inventory,
        served: str | None,
    ) -> None:  # fmt: skip
        self._pipeline = pipeline
        self._collection = collection
        self._difference = difference
        self._written = written
        self._served = served
        inventory = difference.inventory
        self._move: SwitchLosses | None = None
        if served is not None and not pipeline.settings.sample:
            names = chain(inventory.where(inventory.states == RowState.SAME), written.where(written.products))
            self._move = switch_losses.weigh(pipeline, collection, served, difference, names)
        if inventory.count(RowState.SAME) + len(written):
            self._stays = reason_to_stay(pipeline, served, self._move)
        else:  # an empty collection: what the caller says about skipped products explains it
            self._stays = Promotion(served)

    def carry_over(self) -> int:
        """Carry rows over if the alias may switch; return how many."""
        if self._stays is not None or self._move is None:
            return 0
        return self._move.carry(self._pipeline, self._collection, self._written)

    def promote(self) -> Promotion:
        """Switch the alias if it may, once the collection is verified.

        Raises VerificationError if the collection is not as it should be, InterruptedRunError if the user has
        interrupted the run, and MilvusError if someone else has set the alias in the meantime.
        """
        if self._stays is not None:
            return self._stays
        pipeline, collection, alias = self._pipeline, self._collection, self._pipeline.contract.alias
        deleted = PrunePolicy.of(pipeline.settings).deleted(self._difference)
        _verify(pipeline, collection, self._difference.inventory, self._written, deleted)
        if self._move is not None:
            known = properties.high_water(collection.connection, collection.name)
            properties.keep_high_water(collection.connection, collection.name, known, self._move.high_water)
        collection.switch_alias(self._served)
        note = f"the alias {alias} moved from {self._served}, which stays as it was" if self._served else ""
        return Promotion(collection.name, note)


def reason_to_stay(pipeline: Pipeline, served: str | None, move: SwitchLosses | None) -> Promotion | None:
    """Return why the alias must stay with what it `served`; None if it may switch.

    Too many products were skipped or not looked at, or by the `move` apps would lose too many.
    """
    alias, settings, report = pipeline.contract.alias, pipeline.settings, pipeline.report
    if pipeline.too_many_skipped:
        some = "1 product was" if report.skipped == 1 else f"{report.skipped:,} products were"
        fault = f"{some} skipped, more than --max-skipped {settings.max_skipped} allows"
        return Promotion(served, fault=f"{fault}; correct that, as skipped.csv says, or raise it")
    if served and settings.sample:
        return Promotion(
            served, f"the alias {alias} still serves {served}, because --sample took only a part of the catalog"
        )
    transient = sum(count for reason, count in report.reasons.items() if Reason(reason).is_transient)
    if served and not settings.max_skipped and transient > _MISSING_SHARE * pipeline.progress.items(Stage.CATALOG):
        images = "1 image" if transient == 1 else f"{transient:,} images"
        return Promotion(
            served, fault=f"{images} could not be fetched today; run again, or allow it with --max-skipped"
        )
    if move is not None and move.reason:
        return Promotion(served, fault=f"{move.reason}; if that is right, pass --allow-smaller")
    return None


def _verify(
    pipeline: Pipeline, collection: Collection, inventory: Inventory, written: Inventory, deleted: States[RowState]
) -> None:
    """Raise VerificationError if the collection does not hold what this run wrote to it and found in it."""
    sample = chain(islice(written.where(np.ones(len(written), bool)), _CHECKED_VECTORS),
                   islice((name for name, _ in inventory.ids({RowState.SAME})), _CHECKED_VECTORS))  # fmt: skip
    of_index: list[Mismatch] = []
    for _ in range(_WAITS):
        collection.wait_for_index(pipeline.stop)
        if pipeline.stop.is_set():
            raise InterruptedRunError("interrupted before the alias was moved; run the same command again to go on")
        if not (of_index := list(checks.index(collection))):
            break
    found = chain(
        of_index,
        checks.rows(collection, inventory, written, deleted),
        checks.vectors(collection, pipeline.store, list(sample)),
    )
    if faults := list(islice(found, _NAMED)):
        named = "; ".join(f"{fault.kind} {fault.name} {fault.detail}" for fault in faults)
        raise VerificationError(
            f"collection {collection.name}: {named}; the alias {pipeline.contract.alias} was not moved; run again, "
            "or see all differences with: ingest verify"
        )
