"""Whether the alias may move to a collection that has been filled, and moving it."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from ingest.errors import VerificationError
from ingest.inventory import Fate, Inventory
from ingest.records import Reason, Stage
from ingest.removal import Removal
from ingest.sinks.milvus import proof

if TYPE_CHECKING:
    from ingest.line import Line
    from ingest.sinks.milvus.collection import Collection

_MISSING_SHARE = 0.01
"""More pictures that a later run may have, and a new collection does not replace one that has them."""
_PROVEN = 200  # vectors looked at before the alias moves; ids and digests are looked at one and all
_NAMED = 5  # differences named in the error; ingest verify has them all


def serve(
    line: Line, collection: Collection, there: Inventory, written: Inventory, served: str | None, *, refused: bool
) -> list[str]:
    """Point the alias, which `served` another or none, at the collection where everything is in and proven.

    Say why not where it is not. Raises MilvusError where somebody else has set the alias meanwhile.
    """
    alias = line.contract.alias
    if not there.count(Fate.SAME) + len(written):
        return [f"the alias {alias} was not set, for no product could be embedded"]
    still = f"the alias {alias} " + (f"still serves {served}" if served else "was not set")
    if line.too_many_skipped:
        return [f"{still}, for too many products were skipped"]
    if served and line.settings.sample:
        return [f"{still}, for --sample took only a part of the catalog"]
    healing = sum(count for reason, count in line.report.reasons.items() if Reason(reason).heals)
    if served and not line.settings.max_skipped and healing > _MISSING_SHARE * line.progress.items(Stage.CATALOG):
        return [f"{still}, for {healing} pictures could not be had today; run again, or allow them with --max-skipped"]
    _prove(line, collection, there, written, refused=refused)
    collection.serve(served)
    return [f"the alias {alias} moved from {served}, which stays as it was"] if served else []


def _prove(line: Line, collection: Collection, there: Inventory, written: Inventory, *, refused: bool) -> None:
    """Raise VerificationError where the collection that is about to be served is not what this run has made."""
    deleted = frozenset[Fate]() if refused else Removal.of(line.settings).fates
    sample = chain(islice(written.where(np.ones(len(written), bool)), _PROVEN),
                   islice((name for name, _ in there.ids({Fate.SAME})), _PROVEN))  # fmt: skip
    collection.indexed(line.stop)
    found = chain(
        proof.index(collection),
        proof.rows(collection, there, written, deleted),
        proof.vectors(collection, line.store, list(sample)),
    )
    if faults := list(islice(found, _NAMED)):
        named = "; ".join(f"{fault.kind} {fault.name} {fault.detail}" for fault in faults)
        raise VerificationError(
            f"collection {collection.name}: {named}; the alias {line.contract.alias} was not moved; run again, "
            "or see more with: ingest verify"
        )
