"""Decides whether the alias may switch to the collection that this run has filled, and switches it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.errors import InterruptedRunError, VerificationError
from ingest.core.records import Reason, Stage
from ingest.milvus import checks
from ingest.sync.inventory import Inventory, RowState
from ingest.sync.prune import PrunePolicy

if TYPE_CHECKING:
    from ingest.milvus.collection import Collection
    from ingest.pipeline.pipeline import Pipeline

_MISSING_SHARE = 0.01
"""If a larger share of images failed for transient reasons, a new collection does not replace one that has them."""
_CHECKED_VECTORS = 200  # checked before the alias switches; ids and digests are all checked
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


def promote(
    pipeline: Pipeline,
    collection: Collection,
    there: Inventory,
    written: Inventory,
    served: str | None,
    *,
    refused: bool,
) -> Promotion:
    """Switch the alias from the collection that it `served`, or from none, if this one is complete and verified.

    Raises VerificationError if it is not, and MilvusError if someone else has set the alias in the meantime.
    """
    alias = pipeline.contract.alias
    if not there.count(RowState.SAME) + len(written):
        return Promotion(served)  # an empty collection: what the caller says about skipped products explains it
    if (kept := reason_to_stay(pipeline, served)) is not None:
        return kept
    _verify(pipeline, collection, there, written, refused=refused)
    collection.switch_alias(served)
    note = f"the alias {alias} moved from {served}, which stays as it was" if served else ""
    return Promotion(collection.name, note)


def reason_to_stay(pipeline: Pipeline, served: str | None) -> Promotion | None:
    """Return why the alias must stay, if too many products were skipped or not looked at; None if it may switch."""
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
    return None


def _verify(pipeline: Pipeline, collection: Collection, there: Inventory, written: Inventory, *, refused: bool) -> None:
    """Raise VerificationError if the collection does not hold what this run wrote to it and found in it."""
    deleted = frozenset[RowState]() if refused else PrunePolicy.of(pipeline.settings).states
    sample = chain(islice(written.where(np.ones(len(written), bool)), _CHECKED_VECTORS),
                   islice((name for name, _ in there.ids({RowState.SAME})), _CHECKED_VECTORS))  # fmt: skip
    collection.wait_for_index(pipeline.stop)
    if pipeline.stop.is_set():
        raise InterruptedRunError("interrupted before the alias was moved; run the same command again to go on")
    found = chain(
        checks.index(collection),
        checks.rows(collection, there, written, deleted),
        checks.vectors(collection, pipeline.store, list(sample)),
    )
    if faults := list(islice(found, _NAMED)):
        named = "; ".join(f"{fault.kind} {fault.name} {fault.detail}" for fault in faults)
        raise VerificationError(
            f"collection {collection.name}: {named}; the alias {pipeline.contract.alias} was not moved; run again, "
            "or see all differences with: ingest verify"
        )
