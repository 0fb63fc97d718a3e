"""The straight line, on threads: catalog → images → embedding → store → Milvus, and the exports from the store.

Nothing else decides the order of things. Each function here takes the settings and says what it did.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest import contract as contracts
from ingest import flow, sync
from ingest.catalog import formats
from ingest.catalog import rows as catalog_rows
from ingest.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.embedding import encoder as embedding
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.preprocessed import Preprocessed
from ingest.errors import InterruptedRunError, MilvusError, NoTorchError, TooManySkippedError
from ingest.images.cache import Cache
from ingest.images.decode import Decoder
from ingest.images.download import Downloader
from ingest.images.fetch import Fetcher
from ingest.records import Decoded, Embedded, Picture, Product, Skipped, Stage
from ingest.report import RunFolder, Summary, too_many
from ingest.sinks import faiss
from ingest.sinks.milvus import writer
from ingest.sinks.milvus.collection import Collection
from ingest.sinks.milvus.connection import opened
from ingest.store import arrays, shards
from ingest.store.lock import holding
from ingest.store.wanted import Wanted

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ingest.config import Settings
    from ingest.contract import Contract
    from ingest.embedding.checkpoint import Checkpoint
    from ingest.embedding.encoder import Encoder
    from ingest.progress import Progress
    from ingest.store.arrays import Manifest

_REFILL_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did, and `places`, where what it made lies, by name.

    `example` is the first product with a picture, to try a search with; `notes` is what a user should know.
    """

    summary: Summary
    places: dict[str, str]
    example: Picture | None
    notes: tuple[str, ...]


class Line:
    """The parts of the line, opened once: each method is a stretch of it, from records to records."""

    def __init__(self, stack: ExitStack, settings: Settings, progress: Progress, stop: threading.Event) -> None:
        self.settings = settings
        self.progress = progress
        self.stop = stop
        self.contract: Contract = contracts.load(settings.schema)
        self.checkpoint: Checkpoint = resolve(settings.model, settings.model_revision)
        self.space = self.checkpoint.space
        stack.enter_context(holding(settings.data))
        embeddings = settings.data / "embeddings"
        self.store = shards.Store(embeddings / "store" / self.space.fingerprint, self.space.dim)
        self.wanted = Wanted(embeddings)
        stack.callback(self.wanted.close)
        self.cache = stack.enter_context(Cache(settings.data / "image_cache"))
        self._downloader = stack.enter_context(_downloader(settings)) if settings.download_missing else None
        self.preprocessed = Preprocessed(settings.data / "preprocessed", self.checkpoint.preprocessing)
        self.example: Picture | None = None
        self.report = stack.enter_context(RunFolder(settings.data / "runs"))

    def products(self) -> Iterator[Product | Skipped]:
        """Read the catalog: all of it, or the first `sample` products."""
        settings = self.settings
        columns = formats.Columns(settings.id_column, settings.image_column)
        self.progress.total = settings.sample or formats.estimate(settings.catalog)
        products = _first(catalog_rows.read(settings.catalog, self.contract, columns), settings.sample)
        return self.progress.counting(Stage.CATALOG, flow.until(products, self.stop), (Product, Skipped))

    def pictures(self, *, download: bool = True) -> Iterator[Picture | Skipped]:
        """Have every product's picture on disk, and note what is wanted."""
        workers = self.settings.download_workers
        fetch = Fetcher(self.cache, self._downloader if download else None, self.settings.catalog.parent)
        pictures = flow.pmap(fetch, self.products(), workers=workers, ahead=4 * workers)
        pictures = self.wanted.noting(self._exemplified(pictures))
        return self.progress.counting(Stage.IMAGES, pictures, Picture)

    def pixels(self, pictures: Iterable[Picture | Skipped]) -> Iterator[Decoded | Embedded | Skipped]:
        """Decode those whose vector the store does not know."""
        known = shards.lookup(pictures, self.store)
        decode = self.preprocessed.using(Decoder(self.checkpoint.preprocessing))
        workers = self.settings.decode_workers or os.cpu_count() or 1
        pixels = flow.pmap(decode, known, workers=workers, ahead=self._ahead)
        return self.progress.counting(Stage.DECODE, pixels, Decoded)

    def embedded(self, pictures: Iterable[Picture | Skipped]) -> Iterator[Embedded | Skipped]:
        """Give every picture its vector, from the store or from the model; new ones are on disk before they go on."""
        batch = self.settings.batch_size
        encoder = self._encoder()
        pixels = flow.until(flow.ahead(self.pixels(pictures), self._ahead), self.stop)
        stored = shards.append(embedding.embed(pixels, encoder, batch), self.store, batch)
        return self._tidied(self.progress.counting(Stage.STORE, stored, Embedded))

    def ahead(self, records: Iterable[Any]) -> Iterator[Any]:
        """Let the stages before go on by themselves, a few batches in front."""
        return flow.ahead(records, self._ahead)

    @property
    def _ahead(self) -> int:
        return 4 * self.settings.batch_size

    def _encoder(self) -> Encoder:
        settings = self.settings
        encoder = ClipEncoder(self.checkpoint, settings.device, settings.dtype, settings.batch_size)
        return embedding.Counted(encoder, lambda pictures: self.progress.add(Stage.EMBEDDING, pictures))

    def _exemplified(self, pictures: Iterable[Picture | Skipped]) -> Iterator[Picture | Skipped]:
        for record in pictures:
            if self.example is None and isinstance(record, Picture):
                self.example = record
            yield record

    def _tidied(self, records: Iterable[Embedded | Skipped]) -> Iterator[Embedded | Skipped]:
        for record in records:
            if isinstance(record, Embedded):
                self.preprocessed.remove(record.sha256)
            yield record


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
    summary.unchanged, summary.gone = difference.unchanged, len(digests)
    _stop_if_told(line, summary)
    if summary.upserted:
        collection.flush()
    if line.settings.exports:
        _export(line)
    notes = _serve(line, collection, summary)
    places = {"collection": f"{line.contract.alias}, now {collection.name}, at {collection.connection.shown}"}
    return _finish(line, summary, places | (_exported(line) if line.settings.exports else {}), notes)


def _digests(collection: Collection, store: shards.Store) -> dict[str, str]:
    """Read back what each row was made from, and take over vectors that the store lacks and the collection has."""
    digests: dict[str, str] = {}
    missing: list[str] = []
    for rows in collection.rows():
        digests.update((row[PRIMARY_KEY], row[ROW_DIGEST]) for row in rows)
        ours = [row for row in rows if len(row[IMAGE_SHA256]) == 64]
        held = store.holds([bytes.fromhex(row[IMAGE_SHA256]) for row in ours])
        missing.extend(row[PRIMARY_KEY] for row, there in zip(ours, held, strict=True) if not there)
    for batch in flow.batched(missing, _REFILL_ROWS):
        vectors = dict(collection.vectors(batch))
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
    if served and (line.settings.sample or _too_many_skipped(line)):
        why = "--sample took only a part of the catalog" if line.settings.sample else "too many products were skipped"
        return [f"the alias {alias} still serves {served}, for {why}"]
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
    return {"vectors": settings.npy, "ids": settings.npy_ids, "FAISS": files.index}


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
    if _too_many_skipped(line):
        line.report.write(summary, _facts(line, places), "too many skipped")
        raise TooManySkippedError(
            f"{summary.skipped} of {summary.products} products were skipped, more than --max-skipped "
            f"{line.settings.max_skipped} allows; the reasons are in {places['skipped']}"
        )
    line.report.write(summary, _facts(line, places), "done")
    return Outcome(summary, {name: str(place) for name, place in places.items()}, line.example, tuple(notes or ()))


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
        "places": places,
    }


def _too_many_skipped(line: Line) -> bool:
    return too_many(line.report.skipped, line.progress.items(Stage.CATALOG), line.settings.max_skipped)


def _first(records: Iterable[Product | Skipped], products: int) -> Iterable[Product | Skipped]:
    return islice(records, products) if products else records


def _downloader(settings: Settings) -> Downloader:
    return Downloader(
        read_s=settings.download_timeout, tries=settings.download_tries, max_bytes=settings.max_image_bytes
    )
