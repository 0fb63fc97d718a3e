"""Whether the alias may move to a collection that has been filled, and moving it."""

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
"""More pictures that a later run may have, and a new collection does not replace one that has them."""
_PROVEN = 200  # vectors looked at before the alias moves; ids and digests are looked at one and all
_NAMED = 5  # differences named in the error; ingest verify has them all


@dataclass(frozen=True, slots=True)
class Promotion:
    """What the alias `served` at the end, None for nothing; `fault` says why not this run's collection, and what to do.

    `fault` is "" where the alias serves it, or stays elsewhere because the user wanted it so. `note` is for the user.
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
    """Point the alias, which `served` another or none, at the collection if everything is in and proven.

    Raises MilvusError if somebody else has set the alias meanwhile.
    """
    alias = pipeline.contract.alias
    if not there.count(RowState.SAME) + len(written):
        return Promotion(served)  # why that is, says who counted what was skipped
    if (kept := served_instead(pipeline, served)) is not None:
        return kept
    _prove(pipeline, collection, there, written, refused=refused)
    collection.switch_alias(served)
    note = f"the alias {alias} moved from {served}, which stays as it was" if served else ""
    return Promotion(collection.name, note)


def served_instead(pipeline: Pipeline, served: str | None) -> Promotion | None:
    """Return what the alias goes on serving where what was skipped, or not looked at, forbids to move it."""
    alias, settings, report = pipeline.contract.alias, pipeline.settings, pipeline.report
    if pipeline.too_many_skipped:
        some = "1 product was" if report.skipped == 1 else f"{report.skipped:,} products were"
        fault = f"{some} skipped, more than --max-skipped {settings.max_skipped} allows"
        return Promotion(served, fault=f"{fault}; correct that, as skipped.csv says, or raise it")
    if served and settings.sample:
        return Promotion(
            served, f"the alias {alias} still serves {served}, for --sample took only a part of the catalog"
        )
    healing = sum(count for reason, count in report.reasons.items() if Reason(reason).is_transient)
    if served and not settings.max_skipped and healing > _MISSING_SHARE * pipeline.progress.items(Stage.CATALOG):
        images = "1 image" if healing == 1 else f"{healing:,} images"
        return Promotion(
            served, fault=f"{images} could not be fetched today; run again, or allow it with --max-skipped"
        )
    return None


def _prove(pipeline: Pipeline, collection: Collection, there: Inventory, written: Inventory, *, refused: bool) -> None:
    """Raise VerificationError where the collection that is about to be served is not what this run has made."""
    deleted = frozenset[RowState]() if refused else PrunePolicy.of(pipeline.settings).states
    sample = chain(islice(written.where(np.ones(len(written), bool)), _PROVEN),
                   islice((name for name, _ in there.ids({RowState.SAME})), _PROVEN))  # fmt: skip
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
            "or see more with: ingest verify"
        )
