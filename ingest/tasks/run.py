"""Bring the collection in step with the catalog: the pipeline into Milvus, the exports, and the alias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.core.errors import ConfigError, EngineError, InterruptedRunError, NotLiveError, VerificationError
from ingest.core.records import Embedded, Stage
from ingest.milvus import bulk_import, null_probe, pending_imports, properties, reader, writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.milvus.loading import load
from ingest.pipeline import catalog_check, export_files, kept_rows, refill
from ingest.pipeline.distributed import driver
from ingest.pipeline.first_write import FirstWrite
from ingest.pipeline.outcome import Outcome, complete, finish, raise_if_stopped, unusable, write_report
from ingest.pipeline.promote import AliasSwitch
from ingest.pipeline.report import Summary
from ingest.pipeline.without_torch import open_pipeline
from ingest.runtime import parallel
from ingest.sync.diff import CollectionDiff
from ingest.sync.inventory import Inventory
from ingest.sync.prune import PrunePolicy

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence

    from ingest.core.errors import IngestError
    from ingest.core.records import Skipped
    from ingest.core.settings import Settings
    from ingest.pipeline.pipeline import Pipeline
    from ingest.pipeline.progress import Progress
    from ingest.pipeline.promote import Promotion

FLUSHED_FROM = 5_000
"""Flush after this many rows: fewer are as safe in the server's log, and any flush takes 3 s."""
_DELETED_AT_ONCE = 1000


def run(
    settings: Settings, progress: Progress, stop: threading.Event, distrusted: Sequence[str] = (),
    misembedded: Sequence[str] = (), *, rewrite: bool = False,
) -> Outcome:  # fmt: skip
    """Bring the collection in step with the catalog, write the exports, and switch the alias to the collection.

    A second run over the same catalog embeds and writes nothing. `stop` ends the run early: what is in flight is
    written, and InterruptedRunError is raised. The alias switches only when every row is written and verified. The rows
    of `distrusted` products are written again whatever their digests are, and the images of `misembedded` ones embedded
    again whatever the store has; with `rewrite` the exports are written again even if they hold exactly these rows.
    """
    PrunePolicy.of(settings)
    if settings.load == "bulk" and settings.bulk_folder is None:
        raise ConfigError("--load bulk: name a folder that the server sees too, with --bulk-folder (and --bulk-path)")
    if settings.load == "bulk" and settings.engine == "ray":
        raise ConfigError("--load bulk: on a cluster the workers upsert; pass --engine threads, or leave --load out")
    with open_pipeline(settings, progress, stop) as pipeline, connect(settings.milvus, stop) as connection:
        found = null_probe.adapt(connection, pipeline.contract, pipeline.space)
        collection = Collection(connection, found.contract, pipeline.space)
        own = collection.name if collection.exists() else None
        pipeline.compare_with(catalog_check.recall(connection, own, collection.alias_target()))
        pipeline.check_complete(found.refused, found.version)
        with progress.clock.working(Stage.MILVUS):
            synchronisation = _Run(pipeline, collection, found.properties)
        synchronisation.distrust(distrusted, misembedded)
        try:
            return synchronisation.run(rewrite=rewrite)
        except EngineError as error:
            synchronisation.note_failure(error)
            raise


class _Run:
    """One run over a collection. Creating it prepares the collection and reads what is in it, and what apps find."""

    def __init__(self, pipeline: Pipeline, collection: Collection, noted: Mapping[str, str]) -> None:
        self._pipeline = pipeline
        self._settings = pipeline.settings
        self._clock = pipeline.progress.clock
        self._policy = PrunePolicy.of(pipeline.settings)
        self._collection = collection
        collection.prepare()
        properties.update(collection.connection, collection.name, noted)
        before = collection.alias_target()
        self._summary = Summary(collection=collection.name, served=before)
        self._switches = before != collection.name
        pending_imports.settle(collection, self._settings.bulk_folder, pipeline.stop)
        inventory = reader.read_inventory(collection, pipeline.store)
        if before and self._switches:
            load(collection.connection, before)
        self._served = reader.read_served(collection, before, inventory)
        self._difference = CollectionDiff(inventory, pipeline.space.fingerprint, self._served)

    def distrust(self, product_ids: Sequence[str], misembedded: Sequence[str]) -> None:
        """Have rows written again whatever their digests are, and the images of `misembedded` products embedded."""
        inventory = self._difference.inventory
        inventory.distrust(inventory.find(product_ids))
        refill.forget(self._pipeline, inventory, misembedded)

    def note_failure(self, error: IngestError) -> None:
        """Write the report of a run that ends early."""
        self._count()
        complete(self._pipeline, self._summary)
        write_report(self._pipeline, self._summary, "failed", failure=error)

    def run(self, *, rewrite: bool) -> Outcome:
        """Write, delete, export and switch the alias, in this order."""
        pipeline, summary = self._pipeline, self._summary
        try:
            written = self._write_changes()
        except NotLiveError as error:  # before the first row was written
            pipeline.stop_threads()
            return finish(pipeline, summary, self._places(), faults=[str(error)])
        summary.upserted += refill.refill(pipeline, self._collection, self._difference)
        self._count()
        raise_if_stopped(pipeline, summary)
        changes = catalog_check.weigh(pipeline, self._difference)
        with self._clock.working(Stage.MILVUS):
            switch = self._switch(written)
            refused = self._delete()
            summary.carried = switch.carry_over() if switch else 0
            self._flush()
        exported = self._export(rewrite=rewrite) if self._settings.exports else export_files.ExportResult()
        notes = [*changes, *kept_rows.notes(self._settings, self._difference, summary)]
        faults = [*unusable(pipeline, summary.upserted + summary.unchanged), *exported.faults]
        if switch:
            promotion = self._promote(switch)
            summary.served = promotion.served
            notes += [promotion.note] if promotion.note else []
            faults = ([promotion.fault] if promotion.fault else []) + faults
        else:
            with self._clock.working(Stage.MILVUS):
                self._collection.check_not_taken()
        if not (faults or refused):
            self._remember()
        places = self._places() | (export_files.existing(pipeline) if self._settings.exports else {})
        return finish(pipeline, summary, places, notes, faults, refused)

    def _write_changes(self) -> Inventory:
        """Write the rows that differ, count and report them; return them if the alias switches, to verify them."""
        pipeline, difference = self._pipeline, self._difference
        records = pipeline.progress.count(Stage.MILVUS, self._written(), Embedded)
        written = Inventory()
        for batch in parallel.batched(pipeline.report.keep_skipped(difference.failures(records)), writer.MAX_ROWS):
            self._summary.upserted += len(batch)
            for record in batch:
                pipeline.report.add_change(record.product.product_id, difference.kind(record.product.product_id))
            if self._switches:
                written.add(*writer.identities(batch, self._collection))
        return written

    def _written(self) -> Iterator[Embedded | Skipped]:
        """Write the rows that differ, on this machine's threads or on a Ray cluster, and yield them."""
        pipeline, difference = self._pipeline, self._difference
        first = FirstWrite(pipeline, self._served)
        if self._settings.engine == "ray":
            return pipeline.owned(driver.write_rows(pipeline, self._collection, difference, first))
        changes = first.before(difference.changes(pipeline.images(decodes=True, is_known=difference.have_image)))
        embedded = self._clock.waiting(pipeline.buffer(pipeline.embed(changes)))
        return self._clock.within(Stage.MILVUS, self._load(embedded))

    def _load(self, records: Iterator[Embedded | Skipped]) -> Iterator[Embedded | Skipped]:
        """Upsert, or have the server import files, as --load says; `auto` imports only into an empty collection."""
        settings, inventory = self._settings, self._difference.inventory
        if settings.load == "upsert" or settings.bulk_folder is None or (settings.load == "auto" and len(inventory)):
            return writer.upsert(records, self._collection)
        path = settings.bulk_path or str(settings.bulk_folder.absolute())
        folder = bulk_import.ImportFolder(settings.bulk_folder, path)
        return bulk_import.load(records, self._collection, inventory, folder, self._pipeline.stop)

    def _count(self) -> None:
        summary, difference = self._summary, self._difference
        summary.unchanged, summary.stale = difference.unchanged, difference.stale
        summary.added, summary.changed = difference.added, difference.changed
        # After a sample, or an interrupted run, the rest of the catalog is not known.
        summary.gone = 0 if self._settings.sample or self._pipeline.stop.is_set() else difference.gone

    def _switch(self, written: Inventory) -> AliasSwitch | None:
        if not self._switches:
            return None
        return AliasSwitch(self._pipeline, self._collection, self._difference, written, self._summary.served)

    def _delete(self) -> str:
        """Delete the rows that the prune policy names; return why none were deleted if they would be too many."""
        for product_id, change in self._policy.changes(self._difference, gone=not self._settings.sample):
            self._pipeline.report.add_change(product_id, change)
        for batch in parallel.batched(self._policy.ids(self._difference), _DELETED_AT_ONCE):
            self._collection.delete(batch)
            self._summary.deleted += len(batch)
        return self._policy.refusal(self._difference)

    def _flush(self) -> None:
        summary = self._summary
        changes = summary.upserted + summary.deleted + summary.carried
        if changes >= (1 if self._switches or self._collection.connection.is_lite else FLUSHED_FROM):
            self._collection.flush()

    def _export(self, *, rewrite: bool) -> export_files.ExportResult:
        inventory = self._difference.inventory

        def repair(images: list[bytes]) -> None:
            inventory.unstored = inventory.places_of(images)
            self._summary.upserted += refill.refill(self._pipeline, self._collection, self._difference)
            self._count()

        return export_files.export(
            self._pipeline, export_files.paths(self._settings), inventory, repair,
            drops_failed=self._policy.drops_failed(self._difference), rewrite=rewrite,
        )  # fmt: skip

    def _promote(self, switch: AliasSwitch) -> Promotion:
        """Switch the alias to the collection if it may; if the collection is wrong, the report says so.

        Raises VerificationError then, and InterruptedRunError if the user has interrupted the run.
        """
        pipeline, summary = self._pipeline, self._summary
        raise_if_stopped(pipeline, summary)
        try:
            with self._clock.working(Stage.MILVUS):
                return switch.promote()
        except (VerificationError, InterruptedRunError) as error:
            complete(pipeline, summary)
            outcome = "interrupted" if isinstance(error, InterruptedRunError) else "not verified"
            write_report(pipeline, summary, outcome, failure=error)
            raise

    def _remember(self) -> None:
        """Note in the collection, after a run that ended well, what apps find and how the catalog was read."""
        settings, served, collection = self._settings, self._served, self._collection
        is_whole = not (settings.sample or self._pipeline.too_many_skipped)
        if served and not self._switches and is_whole:
            found = served.after(self._policy.losses(self._difference)[0], is_allowed=settings.allow_smaller)
            properties.keep_high_water(collection.connection, collection.name, served.high_water, found)
        catalog_check.keep(self._pipeline, collection, self._difference)

    def _places(self) -> dict[str, Any]:
        alias, summary = self._pipeline.contract.alias, self._summary
        if summary.served == summary.collection:
            what = f"{alias}, now {summary.collection}"
        elif summary.served is None:
            what = f"{alias} serves nothing; the rows are in {summary.collection}"
        else:
            what = f"{alias} still serves {summary.served}, not {summary.collection}"
        return {"collection": f"{what}, at {self._collection.connection.shown}"}
