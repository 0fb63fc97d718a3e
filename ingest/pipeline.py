"""What the commands do with the line: run it into Milvus, embed into files, export from the store.

Each function takes the settings and says what it did.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest import flow, sync
from ingest.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.errors import InterruptedRunError, MilvusError, NoTorchError
from ingest.images import states
from ingest.line import Line
from ingest.records import Decoded, Embedded, Stage
from ingest.report import Summary, too_many
from ingest.sinks import faiss
from ingest.sinks.milvus import writer
from ingest.sinks.milvus.collection import Collection
from ingest.sinks.milvus.connection import opened
from ingest.store import arrays

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from pathlib import Path

    from ingest.config import Settings
    from ingest.progress import Progress
    from ingest.records import Picture
    from ingest.store.arrays import Manifest
    from ingest.store.shards import Store

_REFILL_ROWS = 1000


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


def run(settings: Settings, progress: Progress, stop: threading.Event) -> Outcome:
    """Bring the collection in step with the catalog, then the exports, then point the alias at it.

    A second run over the same catalog embeds nothing and writes nothing. `stop` ends the run early: what is in
    flight is written, and InterruptedRunError raised. The alias moves only when every row is in.
    """
    with _line(settings, progress, stop) as line:
        to = (settings.milvus_uri, settings.token, settings.db_name, settings.max_wait, stop)
        with opened(*to) as connection:
            return _run(line, Collection(connection, line.contract, line.space))


def embed(settings: Settings, progress: Progress, stop: threading.Event, npy: Path, ids: Path) -> Outcome:
    """Embed the catalog into the store and write the `.npy` pair; Milvus is not needed."""
    with _line(settings, progress, stop) as line:
        summary = Summary()
        summary.unchanged = sum(1 for _ in line.report.keeping_skipped(line.embedded(line.pictures())))
        _stop_if_told(line, summary)
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


def _run(line: Line, collection: Collection) -> Outcome:
    collection.prepare()
    digests = _digests(collection, line.store)
    difference = sync.Difference()
    differing = sync.changed(line.pictures(), digests, line.space.fingerprint, difference)
    written = writer.upsert(line.ahead(line.embedded(differing)), collection)
    written = line.progress.counting(Stage.MILVUS, written, Embedded)
    summary = Summary()
    for _ in line.report.keeping_skipped(written):
        summary.upserted += 1
    summary.unchanged = difference.unchanged
    summary.gone = 0 if line.settings.sample or line.stop.is_set() else len(digests)
    _stop_if_told(line, summary)
    if summary.upserted:
        collection.flush()
    if line.settings.exports:
        _export(line)
    notes = _serve(line, collection, summary)
    places = {"collection": f"{line.contract.alias}, now {collection.name}, at {collection.connection.shown}"}
    return _finish(line, summary, places | (_exported(line) if line.settings.exports else {}), notes)


def _digests(collection: Collection, store: Store) -> dict[str, str]:
    """Read back what each row was made from, and take over vectors that the store lacks and the collection has."""
    digests: dict[str, str] = {}
    missing: list[str] = []
    for rows in collection.rows():
        digests.update((row[PRIMARY_KEY], row[ROW_DIGEST]) for row in rows)
        ours = [row for row in rows if len(row[IMAGE_SHA256]) == 64]
        held = store.holds([bytes.fromhex(row[IMAGE_SHA256]) for row in ours])
        missing.extend(row[PRIMARY_KEY] for row, there in zip(ours, held, strict=True) if not there)
    for batch in flow.batched(missing, _REFILL_ROWS):
        if vectors := dict(collection.vectors(batch)):
            store.add(list(vectors), np.stack(list(vectors.values())))
    return digests


def _serve(line: Line, collection: Collection, summary: Summary) -> list[str]:
    """Point the alias at the collection where everything is in; say why not where it is not."""
    served = collection.served()
    if served == collection.name:
        return []
    expected = summary.upserted + summary.unchanged
    alias = line.contract.alias
    if not expected:
        return [f"the alias {alias} was not set, for no product could be embedded"]
    still = f"the alias {alias} " + (f"still serves {served}" if served else "was not set")
    if _too_many_skipped(line):
        return [f"{still}, for too many products were skipped"]
    if served and line.settings.sample:
        return [f"{still}, for --sample took only a part of the catalog"]
    if (count := collection.count()) < expected:
        raise MilvusError(
            f"collection {collection.name}: {count} rows where {expected} were acknowledged; the alias {alias} was not "
            "moved; run again"
        )
    collection.serve()
    return [f"the alias {alias} moved from {served}, which stays as it was"] if served else []


def _export(line: Line) -> Manifest:
    settings = line.settings
    manifest = arrays.write(settings.npy, settings.npy_ids, line.wanted, line.store, line.space.fingerprint)
    if manifest.rows:
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


def _finish(line: Line, summary: Summary, places: dict[str, Any], notes: list[str] | None = None) -> Outcome:
    line.cache.flush()
    _complete(line, summary)
    folder = line.report.folder
    places = places | {"report": folder / "report.json"}
    if summary.skipped:
        places["skipped"] = folder / "skipped.csv"
    failure = ""
    if _too_many_skipped(line):
        failure = (
            f"{summary.skipped} of {summary.products} products were skipped, more than --max-skipped "
            f"{line.settings.max_skipped} allows; the reasons are in {places['skipped']}"
        )
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
    summary.stages = {
        stage.value: {
            "items": count.items,
            "seconds": round(count.seconds, 3),
            "per_second": round(count.rate, 1),
        }
        for stage, count in progress.counts()
    }


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


def _too_many_skipped(line: Line) -> bool:
    return too_many(line.report.skipped, line.progress.items(Stage.CATALOG), line.settings.max_skipped)
