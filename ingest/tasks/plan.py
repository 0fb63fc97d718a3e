"""What a run would do, found by the stages of a run itself, up to the point where something would be changed."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.core import contract as contracts
from ingest.core import notebook
from ingest.core.errors import InterruptedRunError, NotLiveError, TooManySkippedError
from ingest.core.records import Decoded, Embedded, Reason, Skipped, Stage
from ingest.core.wording import quantity
from ingest.milvus import null_probe, reader
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.milvus.loading import check_loaded
from ingest.pipeline import catalog_check, export_files, refill, switch_losses, workspace
from ingest.pipeline.export_content import rows_to_export
from ingest.pipeline.first_write import FirstWrite
from ingest.pipeline.pipeline import Pipeline
from ingest.pipeline.promote import reason_to_stay
from ingest.pipeline.skipped import describe_unusable, too_many
from ingest.sync import diff
from ingest.sync.inventory import Inventory
from ingest.sync.prune import PrunePolicy
from ingest.sync.row_state import RowState
from ingest.tasks.field_changes import FieldChanges, read_changes

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator

    from ingest.core.errors import IngestError
    from ingest.core.records import ImageFile
    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress
    from ingest.pipeline.switch_losses import SwitchLosses
    from ingest.sync.served import ServedRows
    from ingest.tasks.field_changes import PlannedChange

_EXPORTS_STAY = "would not replace the exported files"


@dataclass(slots=True, weakref_slot=True)
class Plan:
    """What a run would do to `collection`, counted in products; `details` is a table of all products concerned.

    `changed` counts products by what changed: `picture`, `metadata`, `both`. `fetch` is images to download first, whose
    products are not counted as added or changed yet; `embed` is products without a vector. `remove` is rows to delete,
    and `refused` says why they would not be deleted. `examples` has one skipped product for each reason. `served` is
    what the alias serves now, None for nothing. `also` is what else a run would do, as after an upgrade of ingest.
    `carried` is rows that would be carried over from the collection that is served. `unserved` says why the alias would
    not switch although it should, `exports_refused` why the last exports would stay, and `unwritten` why nothing at all
    would be written. `catalog_changes` is how the catalog differs from the last one that was read. `exists` says
    whether there is such a collection yet. `fields` counts the products by changed field, and `field_details` is a file
    of them all.
    """

    products: int = 0
    added: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    unchanged: int = 0
    skipped: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    fetch: int = 0
    embed: int = 0
    stale: int = 0
    gone: int = 0
    remove: int = 0
    refused: str = ""
    foreign: int = 0
    collection: str = ""
    served: str | None = None
    seconds: float = 0.0
    details: Path = Path()
    examples: dict[str, str] = field(default_factory=dict)
    also: list[str] = field(default_factory=list)
    carried: int = 0
    unserved: str = ""
    exports_refused: str = ""
    catalog_changes: list[str] = field(default_factory=list)
    unwritten: str = ""
    exists: bool = False
    fields: dict[str, int] = field(default_factory=dict)
    field_details: Path = Path()

    def changes(self) -> Iterator[PlannedChange]:
        """Yield each product that a run would change: its id, how, and the old and new values of its fields."""
        return read_changes(self.details, self.field_details)

    def __repr__(self) -> str:
        """Say in a line what a run would do, and below what else there is to know."""
        counts = (f"{count:,} {what}" for what, count in self._counts().items())
        more = [f"{count:,} skipped: {reason}" for reason, count in self.reasons.items()] + self._notes()
        return notebook.lines(f"Plan({quantity(self.products, 'product')}: {', '.join(counts)})", more)

    def _repr_html_(self) -> str:
        facts = {**self._counts(), "reasons": self.reasons, "served now": self.served or "nothing"}
        return notebook.facts(f"{quantity(self.products, 'product')}, planned", {**facts, "notes": self._notes()})

    def _counts(self) -> dict[str, int]:
        rest = {"to download": self.fetch, "to embed": self.embed}
        return {
            "to add": self.added,
            "to change": sum(self.changed.values()),
            "to delete": self.remove,
            "unchanged": self.unchanged,
            "skipped": self.skipped,
            **{name: count for name, count in rest.items() if count},
        }

    def _notes(self) -> list[str]:
        said = [self.unwritten or self.unserved, self.exports_refused, self.refused, *self.catalog_changes]
        return [*filter(None, said), *(f"a run would also {what}" for what in self.also)]


def plan(settings: Settings, progress: Progress, stop: threading.Event) -> Plan:
    """Find what `run.run` would do, without changing the collection, its alias or the exports.

    Images are read and decoded as in a run, because only that shows which would be skipped, but not downloaded. Nothing
    is written to the data folder or to Milvus. `details` is in a temporary folder that is deleted with the plan.
    """
    prune_policy = PrunePolicy.of(settings)
    found = Plan()
    folder = tempfile.mkdtemp(prefix="ingest-")
    weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    with ExitStack() as stack:
        pipeline = Pipeline(stack, settings, progress, stop, partial(workspace.open_read_only, runs=Path(folder)))
        collection, inventory, served = _read_collection(stack, pipeline, found)
        difference = diff.CollectionDiff(inventory, pipeline.space.fingerprint, served)
        images = pipeline.images(download=False, decodes=True, is_known=difference.have_image)
        records = difference.changes(_fetched(images, found, pipeline, difference))
        fields = FieldChanges(Path(folder, "fields.jsonl"), collection, difference)
        passed = pipeline.report.keep_skipped(difference.failures(pipeline.pixels(records)))
        for record in fields.compare(passed):
            assert isinstance(record, Decoded | Embedded)
            found.embed += isinstance(record, Decoded)
            pipeline.report.add_change(record.product.product_id, difference.kind(record.product.product_id))
        if stop.is_set():
            raise InterruptedRunError("interrupted; nothing was changed")
        found.fields, found.field_details = dict(fields.counts.most_common()), fields.path
        found.added, found.changed, found.unchanged = difference.added, difference.changed, difference.unchanged
        if collection is not None:
            found.embed += len(refill.read_back(pipeline, collection, difference))
        found.catalog_changes = catalog_check.weigh(pipeline, difference)
        move = _weigh(found, pipeline, collection, difference)
        _fill(found, pipeline, difference, prune_policy, move)
    return found


def failure(found: Plan, max_skipped: str) -> IngestError | None:
    """Return the error that a run would end with, as far as that can be foreseen; None if it would end well."""
    skipped = ""
    if too_many(found.skipped, found.products, max_skipped):
        skipped = (
            f"{found.skipped:,} of {found.products:,} products would be skipped, more than --max-skipped "
            f"{max_skipped} allows; --details lists what a run would change"
        )
    faults = [skipped or found.unserved] if found.unserved else []
    if found.skipped and found.skipped == found.products:
        faults.append(describe_unusable(found.reasons, found.products))
    if found.exports_refused:
        faults.append(f"it {_EXPORTS_STAY}: {found.exports_refused}")
    if found.unwritten:  # the run ends there
        faults = [found.unwritten]
    if faults:
        return NotLiveError(f"a run would not go live: {'; '.join(faults)}")
    return TooManySkippedError(skipped) if skipped else None


def _read_collection(
    stack: ExitStack, pipeline: Pipeline, found: Plan
) -> tuple[Collection | None, Inventory, ServedRows | None]:
    """Return the collection, its rows, and what apps find, open as long as the stack; note the state in the plan.

    There are no rows if the collection is missing, and nothing at all if the Milvus Lite file is.
    """
    settings = pipeline.settings
    found.collection = contracts.collection_name(pipeline.contract, pipeline.space)
    if "://" not in settings.milvus_uri and not Path(settings.milvus_uri).expanduser().exists():
        return None, Inventory(), None
    connection = stack.enter_context(connect(settings.milvus, pipeline.stop, reading=True))
    known = null_probe.recall(connection, pipeline.contract, pipeline.space)
    found.also += [known.open] if known.open else []
    collection = Collection(connection, known.contract, pipeline.space)
    found.collection, found.exists = collection.name, collection.exists()
    found.served = collection.alias_target()
    pipeline.compare_with(catalog_check.recall(connection, collection.name if found.exists else None, found.served))
    pipeline.check_complete(known.refused, known.version)
    inventory = Inventory()
    if collection.ready():
        check_loaded(connection, collection.name)
        found.also += collection.pending_updates()
        inventory = reader.read_inventory(collection, pipeline.store)
    if found.served not in (None, collection.name):
        check_loaded(connection, found.served)
    return collection, inventory, reader.read_served(collection, found.served, inventory)


def _fetched(
    records: Iterable[ImageFile | Skipped], found: Plan, pipeline: Pipeline, difference: diff.CollectionDiff
) -> Iterator[ImageFile | Skipped]:
    """Yield the records without the products whose image a run would download first; count those."""
    for record in records:
        if (
            isinstance(record, Skipped)
            and record.reason is Reason.NOT_DOWNLOADED
            and pipeline.settings.download_missing
        ):
            found.fetch += 1
            pipeline.report.add_change(record.product_id, "fetch")
            difference.hold(record.product_id)
        else:
            yield record


def _weigh(
    found: Plan, pipeline: Pipeline, collection: Collection | None, difference: diff.CollectionDiff
) -> SwitchLosses | None:
    """Return what apps would lose if the alias switched; None if it serves nothing, or would not switch.

    Notes in the plan why nothing would be written, if that is so.
    """
    if found.added or any(found.changed.values()):
        found.unwritten = FirstWrite(pipeline, difference.served).refusal()
    if collection is None or found.served in (None, collection.name) or pipeline.settings.sample:
        return None
    inventory = difference.inventory
    names = chain(inventory.where(inventory.states == RowState.SAME), pipeline.report.changed_ids())
    return switch_losses.weigh(pipeline, collection, found.served, difference, names)


def _fill(
    found: Plan,
    pipeline: Pipeline,
    difference: diff.CollectionDiff,
    prune_policy: PrunePolicy,
    move: SwitchLosses | None,
) -> None:
    settings, inventory = pipeline.settings, difference.inventory
    found.products = pipeline.progress.items(Stage.CATALOG)
    found.stale = difference.stale
    found.gone = 0 if settings.sample else difference.gone
    found.foreign = inventory.count(RowState.FOREIGN)
    pipeline.report.count_skipped(found, settings.catalog)
    found.refused = prune_policy.refusal(difference)
    found.remove = sum(1 for _ in prune_policy.ids(difference))
    if settings.exports and not settings.sample:
        _foresee_exports(found, pipeline, difference, prune_policy)
    usable = found.added + sum(found.changed.values()) + found.unchanged + found.fetch
    if usable and found.served != found.collection:
        kept = reason_to_stay(pipeline, found.served, move)
        found.unserved = kept.fault if kept else ""
        found.carried = move.rows if move and not kept else 0
    for product_id, change in prune_policy.changes(difference, gone=not settings.sample):
        pipeline.report.add_change(product_id, change)
    found.seconds = round(pipeline.progress.seconds, 3)
    found.details = pipeline.report.changes_table


def _foresee_exports(
    found: Plan, pipeline: Pipeline, difference: diff.CollectionDiff, prune_policy: PrunePolicy
) -> None:
    """Note whether a run would write the exported files again, or could not replace them."""
    files = export_files.paths(pipeline.settings)
    rows = rows_to_export(pipeline, files, difference.inventory, drops_failed=prune_policy.drops_failed(difference))
    found.exports_refused = export_files.refusal(pipeline, files, rows, coming=pipeline.report.changed_ids())
    if found.exports_refused or found.embed:
        return
    depends = ", depending on what it fetches" if found.fetch else ""
    if not export_files.are_current(pipeline, files, rows):
        found.also.append(f"write {files.npy} and the other exported files again{depends}")
    elif not export_files.is_parquet_current(pipeline, files, rows):
        found.also.append(f"write {files.parquet} again{depends}")
