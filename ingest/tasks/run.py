"""The commands that use the whole pipeline: run it into Milvus, embed into files, export from the store."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from ingest.core.errors import ConfigError, InterruptedRunError, NotLiveError, NoTorchError, VerificationError
from ingest.core.records import Decoded, Embedded, Stage
from ingest.exports import faiss_index
from ingest.milvus import bulk_import, null_probe, pending_imports, properties, reader, writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.milvus.loading import load
from ingest.pipeline import export_files, kept_rows
from ingest.pipeline.distributed import driver
from ingest.pipeline.export_content import ExportPaths, rows_to_export
from ingest.pipeline.first_write import FirstWrite
from ingest.pipeline.outcome import Outcome, complete, finish, raise_if_stopped, write_report
from ingest.pipeline.pipeline import Pipeline
from ingest.pipeline.promote import AliasSwitch
from ingest.pipeline.report import Summary
from ingest.pipeline.skipped import describe_unusable
from ingest.runtime import parallel
from ingest.runtime.profiler import EXPORTS
from ingest.sync import diff
from ingest.sync.inventory import Inventory
from ingest.sync.prune import PrunePolicy

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ingest.core.records import Skipped
    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress
    from ingest.pipeline.promote import Promotion

FLUSHED_FROM = 5_000
"""Flush after this many rows: fewer are as safe in the server's log, and any flush takes 3 s."""
_DELETED_AT_ONCE = 1000
_NOTHING_STORED = "no product of the catalog has a vector yet; make them with: ingest run"


def run(
    settings: Settings, progress: Progress, stop: threading.Event, distrusted: Sequence[str] = (), *,
    rewrite: bool = False,
) -> Outcome:  # fmt: skip
    """Bring the collection in step with the catalog, write the exports, and switch the alias to the collection.

    A second run over the same catalog embeds and writes nothing. `stop` ends the run early: what is in flight is
    written, and InterruptedRunError is raised. The alias switches only when every row is written and verified. The rows
    of `distrusted` products are written again whatever their digests are; with `rewrite` the exports are written again
    even if they hold exactly these rows.
    """
    PrunePolicy.of(settings)
    if settings.load == "bulk" and settings.bulk_folder is None:
        raise ConfigError("--load bulk: name a folder that the server sees too, with --bulk-folder (and --bulk-path)")
    if settings.load == "bulk" and settings.engine == "ray":
        raise ConfigError("--load bulk: on a cluster the workers upsert; pass --engine threads, or leave --load out")
    with _open_pipeline(settings, progress, stop) as pipeline, connect(settings.milvus, stop) as connection:
        found = null_probe.adapt(connection, pipeline.contract, pipeline.space)
        pipeline.check_complete(found.refused, found.version)
        collection = Collection(connection, found.contract, pipeline.space)
        return _sync(pipeline, collection, found.properties, distrusted, rewrite=rewrite)


def embed(settings: Settings, progress: Progress, stop: threading.Event, npy: Path, ids: Path) -> Outcome:
    """Embed the catalog into the store and write the `.npy` pair, without Milvus."""
    with _open_pipeline(settings, progress, stop) as pipeline:
        summary = Summary()
        usable = sum(1 for _ in pipeline.report.keep_skipped(pipeline.embed(pipeline.images())))
        raise_if_stopped(pipeline, summary)
        exported = _export(pipeline, ExportPaths(npy, ids))
        summary.unchanged = usable - min(usable, progress.items(Stage.EMBEDDING))
        faults = _faults(pipeline, usable, exported)
        return finish(pipeline, summary, {"vectors": npy, "ids": ids}, _carried(exported), faults)


def export(settings: Settings, progress: Progress, stop: threading.Event) -> Outcome:
    """Write the `.npy` pair and the FAISS files from the store; nothing is downloaded or embedded."""
    with _open_pipeline(settings, progress, stop) as pipeline:
        summary = Summary()
        for _ in pipeline.report.keep_skipped(pipeline.images(download=False)):
            pass
        raise_if_stopped(pipeline, summary)
        exported = _export(pipeline, _files(settings), is_judged=False)
        summary.unchanged = exported.rows
        some = "1 product has" if exported.missing == 1 else f"{exported.missing:,} products have"
        notes = [f"{some} no vector yet; embed what is missing with: ingest run"] if exported.missing else []
        faults = [exported.refusal] if exported.refusal else [_NOTHING_STORED] if not exported.rows else []
        return finish(pipeline, summary, _exported(pipeline), [*notes, *_carried(exported)], faults)


def _sync(
    pipeline: Pipeline, collection: Collection, noted: Mapping[str, str], distrusted: Sequence[str], *, rewrite: bool
) -> Outcome:
    settings, clock = pipeline.settings, pipeline.progress.clock
    with clock.working(Stage.MILVUS):
        collection.prepare()
        properties.update(collection.connection, collection.name, noted)
        summary = Summary(collection=collection.name, served=collection.alias_target())
        pending_imports.settle(collection, settings.bulk_folder, pipeline.stop)
        there = reader.inventory(collection, pipeline.store)
        if summary.served not in (None, collection.name):
            load(collection.connection, summary.served)
        served = reader.read_served(collection, summary.served, there, pipeline.store)
    switches = summary.served != collection.name
    there.distrust(there.find(distrusted))
    difference = diff.CollectionDiff(there, pipeline.space.fingerprint, served)
    try:
        written = _write_changes(pipeline, collection, difference, summary, switches=switches)
    except NotLiveError as error:  # before the first row was written
        pipeline.stop_threads()
        return finish(pipeline, summary, _places(pipeline, collection, summary), faults=[str(error)])
    _count(pipeline, summary, difference)
    raise_if_stopped(pipeline, summary)
    with clock.working(Stage.MILVUS):
        switch = AliasSwitch(pipeline, collection, difference, written, summary.served) if switches else None
        refused = _remove(pipeline, collection, difference, summary)
        summary.carried = switch.carry_over() if switch else 0
    changes = summary.upserted + summary.deleted + summary.carried
    if changes >= (1 if switches or collection.connection.is_lite else FLUSHED_FROM):
        with clock.working(Stage.MILVUS):
            collection.flush()
    exported = None
    if settings.exports:
        drops = PrunePolicy.of(settings).drops_failed(difference)
        exported = _export(pipeline, _files(settings), there, drops_failed=drops, rewrite=rewrite)
    notes = kept_rows.notes(settings, difference, summary)
    faults = _faults(pipeline, summary.upserted + summary.unchanged, exported)
    if switch:
        promotion = _promote(pipeline, switch, summary)
        summary.served = promotion.served
        notes += [promotion.note] if promotion.note else []
        faults = ([promotion.fault] if promotion.fault else []) + faults
    else:
        with clock.working(Stage.MILVUS):
            collection.check_not_taken()
            if served and not (faults or refused or settings.sample or pipeline.too_many_skipped):
                loss = PrunePolicy.of(settings).losses(difference)[0]
                found = served.after(loss, is_allowed=settings.allow_smaller)
                properties.keep_high_water(collection.connection, collection.name, served.high_water, found)
    places = _places(pipeline, collection, summary) | (_exported(pipeline) if exported else {})
    return finish(pipeline, summary, places, notes, faults, refused)


def _write_changes(
    pipeline: Pipeline, collection: Collection, difference: diff.CollectionDiff, summary: Summary, *, switches: bool
) -> Inventory:
    """Write the rows that differ, count and report them; return them if the alias `switches`, to verify them."""
    first = FirstWrite(pipeline, difference.served)
    records = pipeline.progress.count(Stage.MILVUS, _written(pipeline, collection, difference, first), Embedded)
    written = Inventory()
    for batch in parallel.batched(pipeline.report.keep_skipped(difference.failures(records)), writer.MAX_ROWS):
        summary.upserted += len(batch)
        for record in batch:
            pipeline.report.add_change(record.product.product_id, difference.kind(record.product.product_id))
        if switches:
            written.add(*writer.identities(batch, collection))
    return written


def _promote(pipeline: Pipeline, switch: AliasSwitch, summary: Summary) -> Promotion:
    """Switch the alias to the collection if it may; if the collection is wrong, the report says so.

    Raises VerificationError then, and InterruptedRunError if the user has interrupted the run.
    """
    raise_if_stopped(pipeline, summary)
    try:
        with pipeline.progress.clock.working(Stage.MILVUS):
            return switch.promote()
    except (VerificationError, InterruptedRunError) as error:
        complete(pipeline, summary)
        outcome = "interrupted" if isinstance(error, InterruptedRunError) else "not verified"
        write_report(pipeline, summary, outcome, failure=error)
        raise


def _places(pipeline: Pipeline, collection: Collection, summary: Summary) -> dict[str, Any]:
    return {"collection": f"{_served(pipeline.contract.alias, summary)}, at {collection.connection.shown}"}


def _served(alias: str, summary: Summary) -> str:
    """Say which collection the alias serves, and which one this run has filled if that is another."""
    if summary.served == summary.collection:
        return f"{alias}, now {summary.collection}"
    if summary.served is None:
        return f"{alias} serves nothing; the rows are in {summary.collection}"
    return f"{alias} still serves {summary.served}, not {summary.collection}"


def _written(
    pipeline: Pipeline, collection: Collection, difference: diff.CollectionDiff, first: FirstWrite
) -> Iterator[Embedded | Skipped]:
    """Write the rows that differ, on this machine's threads or on a Ray cluster, and yield them."""
    if pipeline.settings.engine == "ray":
        return driver.write_rows(pipeline, collection, difference, first)
    clock = pipeline.progress.clock
    changes = first.before(difference.changes(pipeline.images()))
    embedded = clock.waiting(pipeline.buffer(pipeline.embed(changes)))
    return clock.within(Stage.MILVUS, _write(pipeline, collection, difference.there, embedded))


def _write(
    pipeline: Pipeline, collection: Collection, there: Inventory, records: Iterator[Embedded | Skipped]
) -> Iterator[Embedded | Skipped]:
    """Upsert, or have the server import files, as --load says; `auto` imports only into an empty collection."""
    settings = pipeline.settings
    if settings.load == "upsert" or settings.bulk_folder is None or (settings.load == "auto" and len(there)):
        return writer.upsert(records, collection)
    folder = bulk_import.ImportFolder(settings.bulk_folder, settings.bulk_path or str(settings.bulk_folder.absolute()))
    return bulk_import.load(records, collection, there, folder, pipeline.stop)


def _count(pipeline: Pipeline, summary: Summary, difference: diff.CollectionDiff) -> None:
    summary.unchanged, summary.stale = difference.unchanged, difference.stale
    summary.added, summary.changed = difference.added, difference.changed
    # After a sample, or an interrupted run, the rest of the catalog is not known.
    summary.gone = 0 if pipeline.settings.sample or pipeline.stop.is_set() else difference.gone


def _remove(pipeline: Pipeline, collection: Collection, difference: diff.CollectionDiff, summary: Summary) -> str:
    """Delete the rows that the prune policy names; return why none were deleted if they would be too many."""
    policy = PrunePolicy.of(pipeline.settings)
    for product_id, change in policy.changes(difference, gone=not pipeline.settings.sample):
        pipeline.report.add_change(product_id, change)
    for batch in parallel.batched(policy.ids(difference), _DELETED_AT_ONCE):
        collection.delete(batch)
        summary.deleted += len(batch)
    return policy.refusal(difference)


def _export(
    pipeline: Pipeline, files: ExportPaths, collection: Inventory | None = None, *,
    drops_failed: bool = False, is_judged: bool = True, rewrite: bool = False,
) -> export_files.ExportResult:  # fmt: skip
    with pipeline.progress.clock.working(EXPORTS):
        rows = rows_to_export(pipeline, files, collection, drops_failed=drops_failed, is_judged=is_judged)
        return export_files.write(pipeline, files, rows, rewrite=rewrite)


def _faults(pipeline: Pipeline, usable: int, exported: export_files.ExportResult | None) -> list[str]:
    """Return why the results are not live, apart from the alias."""
    reasons = {} if usable else pipeline.report.reasons
    faults = [describe_unusable(reasons, pipeline.progress.items(Stage.CATALOG))] if reasons else []
    return faults + ([exported.refusal] if exported and exported.refusal else [])


def _carried(exported: export_files.ExportResult) -> list[str]:
    what = "1 product fails" if exported.carried == 1 else f"{exported.carried:,} products fail"
    return [f"{what} today, and the files have the last good vector"] if exported.carried else []


def _files(settings: Settings) -> ExportPaths:
    return ExportPaths(settings.npy, settings.npy_ids, settings.indexes)


def _exported(pipeline: Pipeline) -> dict[str, Any]:
    settings = pipeline.settings
    files = faiss_index.IndexFiles.of(settings.indexes, pipeline.space.dim)
    places = {"vectors": settings.npy, "ids": settings.npy_ids, "FAISS": files.index}
    return {name: path for name, path in places.items() if path.exists()}


@contextmanager
def _open_pipeline(settings: Settings, progress: Progress, stop: threading.Event) -> Iterator[Pipeline]:
    """Open the pipeline; if torch turns out to be missing, save the pixels that it would have embedded."""
    with ExitStack() as stack:
        pipeline = Pipeline(stack, settings, progress, stop)
        try:
            yield pipeline
        except NoTorchError as error:
            pipeline.stop_threads()
            saved = _save_pixels(pipeline)
            images = "1 preprocessed image is" if saved == 1 else f"{saved:,} preprocessed images are"
            raise NoTorchError(
                f"{error}; nothing was embedded; {images} saved under "
                f"{pipeline.preprocessed.folder}, which the next run with torch uses"
            ) from error


def _save_pixels(pipeline: Pipeline) -> int:
    pixels = pipeline.preprocessed.save(pipeline.pixels(pipeline.images()))
    return sum(1 for record in pixels if isinstance(record, Decoded))
