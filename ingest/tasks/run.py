"""What the commands do with the line: run it into Milvus, embed into files, export from the store.

Each function takes the settings and says what it did.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from ingest.core.errors import ConfigError, InterruptedRunError, NoTorchError, VerificationError
from ingest.core.records import Decoded, Embedded, Stage
from ingest.exports import faiss_index
from ingest.milvus import bulk_import, null_probe, pending_imports, properties, reader, writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.pipeline import export_files
from ingest.pipeline.distributed import driver
from ingest.pipeline.outcome import Outcome, complete, finish, raise_if_stopped, report
from ingest.pipeline.pipeline import Pipeline
from ingest.pipeline.promote import Promotion, promote
from ingest.pipeline.report import Summary, unusable
from ingest.runtime import parallel
from ingest.runtime.profiler import EXPORTS
from ingest.sync import diff
from ingest.sync.inventory import Inventory, RowState
from ingest.sync.prune import PrunePolicy

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ingest.core.records import Skipped
    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress

FLUSHED_FROM = 5_000
"""Fewer rows are as safe in the server's log, until it flushes by itself; asked to, it takes 3 s for any number."""
_DELETED_AT_ONCE = 1000
_NOTHING_STORED = "no product of the catalog has a vector yet; make them with: ingest run"
_NAMED = 5  # products named in a note; changes.csv has them all


def run(
    settings: Settings, progress: Progress, stop: threading.Event, distrusted: Sequence[str] = (), *,
    rewrite: bool = False,
) -> Outcome:  # fmt: skip
    """Bring the collection in step with the catalog, then the exports, then point the alias at it.

    A second run over the same catalog embeds nothing and writes nothing. `stop` ends the run early: what is in
    flight is written, and InterruptedRunError raised. The alias moves only when every row is in and proven.
    `distrusted` names products whose rows are written again whatever their digest says; with `rewrite` the exports are
    written again though they are of just these rows.
    """
    PrunePolicy.of(settings)
    if settings.load == "bulk" and settings.bulk_folder is None:
        raise ConfigError("--load bulk: name a folder that the server sees too, with --bulk-folder (and --bulk-path)")
    if settings.load == "bulk" and settings.engine == "ray":
        raise ConfigError("--load bulk: on a cluster the workers upsert; pass --engine threads, or leave --load out")
    with _open_pipeline(settings, progress, stop) as pipeline:
        to = (settings.milvus_uri, settings.token, settings.db_name, settings.max_wait, stop)
        with connect(*to) as connection:
            found = null_probe.adapt(connection, pipeline.contract, pipeline.space)
            pipeline.check_complete(found.refused, found.version)
            collection = Collection(connection, found.contract, pipeline.space)
            return _run(pipeline, collection, found.properties, distrusted, rewrite=rewrite)


def embed(settings: Settings, progress: Progress, stop: threading.Event, npy: Path, ids: Path) -> Outcome:
    """Embed the catalog into the store and write the `.npy` pair; Milvus is not needed."""
    with _open_pipeline(settings, progress, stop) as pipeline:
        summary = Summary()
        usable = sum(1 for _ in pipeline.report.keeping_skipped(pipeline.embedded(pipeline.pictures())))
        raise_if_stopped(pipeline, summary)
        found = _export(pipeline, export_files.ExportPaths(npy, ids))
        summary.unchanged = usable - min(usable, progress.items(Stage.EMBEDDING))
        return finish(
            pipeline, summary, {"vectors": npy, "ids": ids}, _carried(found), _faults(pipeline, usable, found)
        )


def export(settings: Settings, progress: Progress, stop: threading.Event) -> Outcome:
    """Write the `.npy` pair and the FAISS files from the store; nothing is downloaded or embedded."""
    with _open_pipeline(settings, progress, stop) as pipeline:
        summary = Summary()
        for _ in pipeline.report.keeping_skipped(pipeline.pictures(download=False)):
            pass
        raise_if_stopped(pipeline, summary)
        found = _export(pipeline, _files(settings), is_judged=False)
        summary.unchanged = found.rows
        some = "1 product has" if found.missing == 1 else f"{found.missing:,} products have"
        notes = [f"{some} no vector yet; embed what is missing with: ingest run"] if found.missing else []
        faults = [found.refusal] if found.refusal else [_NOTHING_STORED] if not found.rows else []
        return finish(pipeline, summary, _exported(pipeline), [*notes, *_carried(found)], faults)


def _run(
    pipeline: Pipeline, collection: Collection, noted: Mapping[str, str], distrusted: Sequence[str], *, rewrite: bool
) -> Outcome:
    clock = pipeline.progress.clock
    with clock.working(Stage.MILVUS):
        collection.prepare()
        properties.update(collection.connection, collection.name, noted)
        served = collection.alias_target()
        moves = served != collection.name
        pending_imports.settle(collection, pipeline.settings.bulk_folder, pipeline.stop)
        there = reader.inventory(collection, pipeline.store)
    there.distrust(there.find(distrusted))
    difference = diff.CollectionDiff(there, pipeline.space.fingerprint)
    written = pipeline.progress.counting(Stage.MILVUS, _written(pipeline, collection, difference), Embedded)
    summary, left = Summary(collection=collection.name, served=served), Inventory()
    for batch in parallel.batched(pipeline.report.keeping_skipped(difference.failures(written)), writer.MAX_ROWS):
        summary.upserted += len(batch)
        for record in batch:
            pipeline.report.note(record.product.product_id, difference.kind(record.product.product_id))
        if moves:
            left.add(*writer.identities(batch, collection))
    _count(pipeline, summary, difference)
    raise_if_stopped(pipeline, summary)
    refused = _remove(pipeline, collection, difference, summary)
    if summary.upserted + summary.deleted >= (1 if moves or collection.connection.is_lite else FLUSHED_FROM):
        with clock.working(Stage.MILVUS):
            collection.flush()
    found = None
    if pipeline.settings.exports:
        drops = PrunePolicy.of(pipeline.settings).drops_failed(difference)
        found = _export(pipeline, _files(pipeline.settings), there, drops_failed=drops, rewrite=rewrite)
    notes = _left(pipeline, difference, summary)
    faults = _faults(pipeline, summary.upserted + summary.unchanged, found)
    if moves:
        serving = _serve(pipeline, collection, there, left, summary, refused=refused)
        summary.served = serving.served
        notes += [serving.note] if serving.note else []
        faults = ([serving.fault] if serving.fault else []) + faults
    else:
        with clock.working(Stage.MILVUS):
            collection.check_not_taken()
    places = {"collection": f"{_served(pipeline.contract.alias, summary)}, at {collection.connection.shown}"}
    return finish(pipeline, summary, places | (_exported(pipeline) if found else {}), notes, faults, refused)


def _serve(
    pipeline: Pipeline, collection: Collection, there: Inventory, written: Inventory, summary: Summary, *, refused: str
) -> Promotion:
    """Move the alias here if it may; if the collection turns out not to be as it should, the report says so.

    Raises VerificationError then, and InterruptedRunError if the user has asked to stop.
    """
    raise_if_stopped(pipeline, summary)
    try:
        with pipeline.progress.clock.working(Stage.MILVUS):
            return promote(pipeline, collection, there, written, summary.served, refused=bool(refused))
    except (VerificationError, InterruptedRunError) as error:
        complete(pipeline, summary)
        ended = "interrupted" if isinstance(error, InterruptedRunError) else "not verified"
        report(pipeline, summary, ended, {}, failure=error)
        raise


def _served(alias: str, summary: Summary) -> str:
    """Say which collection the alias serves, and which one it does not though this run has filled it."""
    if summary.served == summary.collection:
        return f"{alias}, now {summary.collection}"
    if summary.served is None:
        return f"{alias} serves nothing; the rows are in {summary.collection}"
    return f"{alias} still serves {summary.served}, not {summary.collection}"


def _written(
    pipeline: Pipeline, collection: Collection, difference: diff.CollectionDiff
) -> Iterator[Embedded | Skipped]:
    """Bring the rows that differ in step: on this machine's threads, or on a Ray cluster."""
    if pipeline.settings.engine == "ray":
        return driver.write_rows(pipeline, collection, difference)
    clock = pipeline.progress.clock
    embedded = clock.waiting(pipeline.spilled(pipeline.embedded(difference.changes(pipeline.pictures()))))
    return clock.within(Stage.MILVUS, _write(pipeline, collection, difference.there, embedded))


def _write(
    pipeline: Pipeline, collection: Collection, there: Inventory, records: Iterator[Embedded | Skipped]
) -> Iterator[Embedded | Skipped]:
    """Upsert, or have the server import, as --load says; by itself only into an empty collection."""
    settings = pipeline.settings
    if settings.load == "upsert" or settings.bulk_folder is None or (settings.load == "auto" and len(there)):
        return writer.upsert(records, collection)
    folder = bulk_import.ImportFolder(settings.bulk_folder, settings.bulk_path or str(settings.bulk_folder.absolute()))
    return bulk_import.load(records, collection, there, folder, pipeline.stop)


def _count(pipeline: Pipeline, summary: Summary, difference: diff.CollectionDiff) -> None:
    summary.unchanged, summary.stale = difference.unchanged, difference.stale
    summary.added, summary.changed = difference.added, difference.changed
    # A sample, or a run that was stopped, has not seen who else is in the catalog.
    summary.gone = 0 if pipeline.settings.sample or pipeline.stop.is_set() else difference.gone


def _remove(pipeline: Pipeline, collection: Collection, difference: diff.CollectionDiff, summary: Summary) -> str:
    """Delete the rows that are to go; return why none was, where too many would have."""
    removal = PrunePolicy.of(pipeline.settings)
    for product_id, change in removal.changes(difference, gone=not pipeline.settings.sample):
        pipeline.report.note(product_id, change)
    for batch in parallel.batched(removal.ids(difference), _DELETED_AT_ONCE):
        collection.delete(batch)
        summary.deleted += len(batch)
    return removal.refusal(difference)


def _left(pipeline: Pipeline, difference: diff.CollectionDiff, summary: Summary) -> list[str]:
    """Say which rows stay although their product is gone or failed."""
    foreign = difference.there.count(RowState.FOREIGN)
    notes = [f"{foreign} rows that ingest did not write were left alone"] if foreign else []
    for fate, rows, why in (
        (RowState.GONE, summary.gone, "rows are not in the catalog; delete them with --prune"),
        (RowState.FAILED, summary.stale, "rows are stale, for their product fails now; delete them with --drop-failed"),
    ):
        if rows and fate not in PrunePolicy.of(pipeline.settings).states:
            named = ", ".join(product_id for product_id, _ in islice(difference.there.ids({fate}), _NAMED))
            notes.append(f"{rows} {why}: {named}{', …' if rows > _NAMED else ''}")
    return notes


def _export(
    pipeline: Pipeline, files: export_files.ExportPaths, collection: Inventory | None = None, *,
    drops_failed: bool = False, is_judged: bool = True, rewrite: bool = False,
) -> export_files.ExportResult:  # fmt: skip
    with pipeline.progress.clock.working(EXPORTS):
        rows = export_files.export_content(pipeline, files, collection, drops_failed=drops_failed, is_judged=is_judged)
        return export_files.write(pipeline, files, rows, rewrite=rewrite)


def _faults(pipeline: Pipeline, usable: int, found: export_files.ExportResult | None) -> list[str]:
    """Say what keeps that which was made from being live, apart from the alias."""
    reasons = {} if usable else pipeline.report.reasons
    faults = [unusable(reasons, pipeline.progress.items(Stage.CATALOG))] if reasons else []
    return faults + ([found.refusal] if found and found.refusal else [])


def _carried(found: export_files.ExportResult) -> list[str]:
    what = "1 product fails" if found.carried == 1 else f"{found.carried:,} products fail"
    return [f"{what} today, and the files have the last good vector"] if found.carried else []


def _files(settings: Settings) -> export_files.ExportPaths:
    return export_files.ExportPaths(settings.npy, settings.npy_ids, settings.indexes)


def _exported(pipeline: Pipeline) -> dict[str, Any]:
    settings = pipeline.settings
    files = faiss_index.IndexFiles.of(settings.indexes, pipeline.space.dim)
    places = {"vectors": settings.npy, "ids": settings.npy_ids, "FAISS": files.index}
    return {name: path for name, path in places.items() if path.exists()}


@contextmanager
def _open_pipeline(settings: Settings, progress: Progress, stop: threading.Event) -> Iterator[Pipeline]:
    """Open the line; where torch turns out to be missing, save what it would have embedded."""
    with ExitStack() as stack:
        pipeline = Pipeline(stack, settings, progress, stop)
        try:
            yield pipeline
        except NoTorchError as error:
            pipeline.halt()
            saved = _save_pixels(pipeline)
            raise NoTorchError(
                f"{error}; nothing was embedded, {saved} preprocessed pictures are saved under "
                f"{pipeline.preprocessed.folder}, and the next run with torch uses them"
            ) from error


def _save_pixels(pipeline: Pipeline) -> int:
    pixels = pipeline.preprocessed.save(pipeline.pixels(pipeline.pictures()))
    return sum(1 for record in pixels if isinstance(record, Decoded))
