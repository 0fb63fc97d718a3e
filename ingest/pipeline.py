"""What the commands do with the line: run it into Milvus, embed into files, export from the store.

Each function takes the settings and says what it did.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ingest import flow, sync
from ingest.bound import bound
from ingest.clock import EXPORTS
from ingest.distributed import engine
from ingest.errors import (
    ConfigError,
    InterruptedRunError,
    NoTorchError,
    PruneRefusedError,
)
from ingest.images import states
from ingest.inventory import Fate, Inventory, key
from ingest.line import Line
from ingest.records import Decoded, Embedded, Stage
from ingest.removal import Removal
from ingest.report import Summary
from ingest.serving import serve
from ingest.sinks import faiss
from ingest.sinks.milvus import bulk, reader, writer
from ingest.sinks.milvus.collection import Collection
from ingest.sinks.milvus.connection import opened
from ingest.store import arrays

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ingest.config import Settings
    from ingest.progress import Progress
    from ingest.records import Picture, Skipped
    from ingest.store.arrays import Manifest

FLUSHED_FROM = 5_000
"""Fewer rows are as safe in the server's log, until it flushes by itself; asked to, it takes 3 s for any number."""
_DELETED_AT_ONCE = 1000
_NAMED = 5  # products named in a note; changes.csv has them all


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did, and `places`, where what it made lies, by name.

    `example` is the first product with a picture, to try a search with; `notes` is what a user should know;
    `failure` says that more were skipped than allowed, where they were.
    """

    summary: Summary
    places: dict[str, str]
    example: Picture | None
    notes: tuple[str, ...]
    failure: str = ""


def run(settings: Settings, progress: Progress, stop: threading.Event, distrusted: Sequence[str] = ()) -> Outcome:
    """Bring the collection in step with the catalog, then the exports, then point the alias at it.

    A second run over the same catalog embeds nothing and writes nothing. `stop` ends the run early: what is in
    flight is written, and InterruptedRunError raised. The alias moves only when every row is in and proven.
    `distrusted` names products whose rows are written again whatever their digest says.
    """
    Removal.of(settings)
    if settings.load == "bulk" and settings.bulk_folder is None:
        raise ConfigError("--load bulk: name a folder that the server sees too, with --bulk-folder (and --bulk-path)")
    if settings.load == "bulk" and settings.engine == "ray":
        raise ConfigError("--load bulk: on a cluster the workers upsert; pass --engine threads, or leave --load out")
    with _line(settings, progress, stop) as line:
        to = (settings.milvus_uri, settings.token, settings.db_name, settings.max_wait, stop)
        with opened(*to) as connection:
            return _run(line, Collection(connection, line.contract, line.space), distrusted)


def embed(settings: Settings, progress: Progress, stop: threading.Event, npy: Path, ids: Path) -> Outcome:
    """Embed the catalog into the store and write the `.npy` pair; Milvus is not needed."""
    with _line(settings, progress, stop) as line:
        summary = Summary()
        summary.unchanged = sum(1 for _ in line.report.keeping_skipped(line.embedded(line.pictures())))
        _stop_if_told(line, summary)
        with progress.clock.working(EXPORTS):
            arrays.write(npy, ids, line.wanted, line.store, line.space.fingerprint)
        summary.unchanged -= min(summary.unchanged, progress.items(Stage.EMBEDDING))
        return _finish(line, summary, {"vectors": npy, "ids": ids})


def export(settings: Settings, progress: Progress, stop: threading.Event) -> Outcome:
    """Write the `.npy` pair and the FAISS files from the store; nothing is downloaded or embedded."""
    with _line(settings, progress, stop) as line:
        summary = Summary()
        summary.unchanged = sum(1 for _ in line.report.keeping_skipped(line.pictures(download=False)))
        _stop_if_told(line, summary)
        summary.unchanged = _export(line).rows
        missing = line.wanted.rows - summary.unchanged
        notes = [f"{missing} products have no vector yet; embed them with: ingest run"] if missing else []
        return _finish(line, summary, _exported(line), notes)


def _run(line: Line, collection: Collection, distrusted: Sequence[str]) -> Outcome:
    clock = line.progress.clock
    with clock.working(Stage.MILVUS):
        collection.prepare()
        served = collection.served()
        moves = served != collection.name
        bulk.settled(collection, line.stop)
        there = reader.inventory(collection, line.store)
    there.distrust(there.find([key(product_id) for product_id in distrusted]))
    difference = sync.Difference(there, line.space.fingerprint)
    written = line.progress.counting(Stage.MILVUS, _written(line, collection, difference), Embedded)
    summary, left = Summary(), Inventory()
    for batch in flow.batched(line.report.keeping_skipped(difference.failures(written)), writer.MAX_ROWS):
        summary.upserted += len(batch)
        for record in batch:
            line.report.note(record.product.product_id, difference.kind(record.product.product_id))
        if moves:
            left.add(*writer.identities(batch, collection))
    _count(line, summary, difference)
    _stop_if_told(line, summary)
    refused = _remove(line, collection, difference, summary)
    if summary.upserted + summary.deleted >= (1 if moves or collection.connection.is_lite else FLUSHED_FROM):
        with clock.working(Stage.MILVUS):
            collection.flush()
    if line.settings.exports:
        _export(line)
    notes = _left(line, difference, summary)
    with clock.working(Stage.MILVUS):
        if moves:
            notes += serve(line, collection, there, left, served, refused=bool(refused))
        else:
            collection.check_untaken()
    places = {"collection": f"{line.contract.alias}, now {collection.name}, at {collection.connection.shown}"}
    return _finish(line, summary, places | (_exported(line) if line.settings.exports else {}), notes, refused)


def _written(line: Line, collection: Collection, difference: sync.Difference) -> Iterator[Embedded | Skipped]:
    """Bring the rows that differ in step: on this machine's threads, or on a Ray cluster."""
    if line.settings.engine == "ray":
        return engine.written(line, collection, difference)
    clock = line.progress.clock
    embedded = clock.waiting(line.parked(line.embedded(difference.changes(line.pictures()))))
    return clock.within(Stage.MILVUS, _write(line, collection, difference.there, embedded))


def _write(
    line: Line, collection: Collection, there: Inventory, records: Iterator[Embedded | Skipped]
) -> Iterator[Embedded | Skipped]:
    """Upsert, or have the server import, as --load says; by itself only into an empty collection."""
    settings = line.settings
    if settings.load == "upsert" or settings.bulk_folder is None or (settings.load == "auto" and len(there)):
        return writer.upsert(records, collection)
    folder = bulk.Folder(settings.bulk_folder, settings.bulk_path or str(settings.bulk_folder.absolute()))
    return bulk.load(records, collection, there, folder, line.stop)


def _count(line: Line, summary: Summary, difference: sync.Difference) -> None:
    summary.unchanged, summary.stale = difference.unchanged, difference.stale
    summary.added, summary.changed = difference.added, difference.changed
    # A sample, or a run that was stopped, has not seen who else is in the catalog.
    summary.gone = 0 if line.settings.sample or line.stop.is_set() else difference.gone


def _remove(line: Line, collection: Collection, difference: sync.Difference, summary: Summary) -> str:
    """Delete the rows that are to go; return why none was, where too many would have."""
    removal = Removal.of(line.settings)
    for product_id, change in removal.changes(difference, gone=not line.settings.sample):
        line.report.note(product_id, change)
    for batch in flow.batched(removal.ids(difference), _DELETED_AT_ONCE):
        collection.delete(batch)
        summary.deleted += len(batch)
    return removal.refusal(difference)


def _left(line: Line, difference: sync.Difference, summary: Summary) -> list[str]:
    """Say which rows stay although their product is gone or failed."""
    foreign = difference.there.count(Fate.FOREIGN)
    notes = [f"{foreign} rows that ingest did not write were left alone"] if foreign else []
    for fate, rows, why in (
        (Fate.GONE, summary.gone, "rows are not in the catalog; delete them with --prune"),
        (Fate.FAILED, summary.stale, "rows are stale, for their product fails now; delete them with --drop-failed"),
    ):
        if rows and fate not in Removal.of(line.settings).fates:
            named = ", ".join(product_id for product_id, _ in islice(difference.there.ids({fate}), _NAMED))
            notes.append(f"{rows} {why}: {named}{', …' if rows > _NAMED else ''}")
    return notes


def _export(line: Line) -> Manifest:
    settings = line.settings
    with line.progress.clock.working(EXPORTS):
        manifest = arrays.write(settings.npy, settings.npy_ids, line.wanted, line.store, line.space.fingerprint)
        faiss.build(settings.npy, settings.npy_ids, settings.indexes, line.contract.index)
    return manifest


def _exported(line: Line) -> dict[str, Any]:
    settings = line.settings
    files = faiss.Files.of(settings.indexes, line.space.dim)
    places = {"vectors": settings.npy, "ids": settings.npy_ids, "FAISS": files.index}
    return {name: path for name, path in places.items() if path.exists()}


@contextmanager
def _line(settings: Settings, progress: Progress, stop: threading.Event) -> Iterator[Line]:
    """Open the line; where torch turns out to be missing, save what it would have embedded."""
    with ExitStack() as stack:
        line = Line(stack, settings, progress, stop)
        try:
            yield line
        except NoTorchError as error:
            line.halt()
            saved = _save_pixels(line)
            raise NoTorchError(
                f"{error}; nothing was embedded, {saved} preprocessed pictures are saved under "
                f"{line.preprocessed.folder}, and the next run with torch uses them"
            ) from error


def _save_pixels(line: Line) -> int:
    pixels = line.preprocessed.saving(line.pixels(line.pictures()))
    return sum(1 for record in pixels if isinstance(record, Decoded))


def _stop_if_told(line: Line, summary: Summary) -> None:
    if line.stop.is_set():
        _complete(line, summary)
        line.report.write(summary, _facts(line, {}), "interrupted")
        raise InterruptedRunError(
            f"interrupted: {summary.embedded} embedded and {summary.upserted} upserted are kept; "
            "run the same command again to go on"
        )


def _finish(
    line: Line, summary: Summary, places: dict[str, Any], notes: list[str] | None = None, refused: str = ""
) -> Outcome:
    line.cache.flush()
    _complete(line, summary)
    folder = line.report.folder
    places = places | {"report": folder / "report.json", "changes": line.report.changes}
    if summary.skipped:
        places["skipped"] = folder / "skipped.csv"
    failure = ""
    if line.too_many_skipped:
        failure = (
            f"{summary.skipped} of {summary.products} products were skipped, more than --max-skipped "
            f"{line.settings.max_skipped} allows; the reasons are in {places['skipped']}"
        )
    if refused:
        line.report.write(summary, _facts(line, places), "prune refused")
        raise PruneRefusedError(f"{line.settings.catalog}: nothing was deleted, all else is done: {refused}")
    line.report.write(summary, _facts(line, places), "too many skipped" if failure else "done")
    shown = {name: str(place) for name, place in places.items()}
    example = line.example if summary.upserted or summary.unchanged else None
    return Outcome(summary, shown, example, tuple(notes or ()), failure)


def _complete(line: Line, summary: Summary) -> None:
    progress = line.progress
    summary.products = progress.items(Stage.CATALOG)
    summary.embedded = progress.items(Stage.EMBEDDING)
    summary.skipped = line.report.skipped
    summary.reasons = dict(line.report.reasons.most_common())
    summary.seconds = round(progress.seconds, 3)
    summary.stages = progress.told()
    found = bound(progress.clock.shares(), line.settings, line.device)
    if found and (summary.embedded or summary.upserted or summary.deleted):
        summary.bound_by, summary.hint = str(found), found.hint


def _facts(line: Line, places: dict[str, Any]) -> dict[str, Any]:
    space = line.space
    return {
        "catalog": line.settings.catalog,
        "model": space.model,
        "revision": space.revision,
        "fingerprint": space.fingerprint,
        "dim": space.dim,
        "pictures": asdict(states.quality(line.cache.index)),
        "places": places,
    }
