"""Proves that the collection, the alias and the exported files are what the catalog and the store say."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core import search_ef
from ingest.core.contract import row_digest
from ingest.core.errors import InterruptedRunError
from ingest.core.records import Decoded, Embedded, Mismatch, Stage
from ingest.exports import faiss_index, npy_files
from ingest.exports.manifest import ALTERED, read_manifest
from ingest.images.cache.cache import FOLDER, INDEX
from ingest.images.cache.checksums import ImageHasher
from ingest.images.cache.index import ImageIndex
from ingest.milvus import checks, null_probe, reader
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.milvus.field_checks import FieldComparison, draw
from ingest.milvus.loading import is_loaded
from ingest.pipeline import export_files, workspace
from ingest.pipeline.pipeline import Pipeline
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.lock import lock_folder
from ingest.runtime.parallel import batched
from ingest.sync import diff
from ingest.sync.inventory import Inventory, RowState
from ingest.sync.prune import PrunePolicy

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator

    from ingest.core.records import Skipped
    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress

_QUERIES, _TOP = 100, 10
_LOOKED_UP = 1000  # rows asked for by their ids at once
_COUNTS, _COUNT_EVERY_S = 5, 1.0
_ALLOWED = "ingest run --allow-smaller"
_OVERLAP = 0.9
"""How much of the FAISS files' top 10 the collection's must share: both indexes are approximate."""


@dataclass(slots=True)
class Verdict:
    """What was proven: `rows` right ones of `expected`, `sampled` vectors, `overlap` of the top 10 (None: unknown).

    `compared` is rows whose fields were compared; where not all were, and of the vectors, `seed` decided which.
    `pictures` is images whose bytes were hashed again, None where that was not asked for. `reasons` counts the skipped
    products. `differing` is all that is not as it should be; `notes` is what a user may want to know and is as it
    should be. Apps search with `ef`: the measured one if there is one, else the schema's.
    """

    collection: str = ""
    products: int = 0
    rows: int = 0
    sampled: int = 0
    overlap: float | None = None
    expected: int = 0
    compared: int = 0
    seed: int = 0
    pictures: int | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    differing: list[Mismatch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    ef: int | None = None
    ef_schema: int | None = None
    ef_measured: int | None = None

    @property
    def distrusted(self) -> list[str]:
        """The products whose row says that it is right and is not."""
        return [found.name for found in self.differing if found.kind in ("vector", "search", "field")]

    @property
    def has_wrong_files(self) -> bool:
        """Whether exported files are to be written again, though they may seem right by their sizes."""
        return any(found.kind in ("file", "search") for found in self.differing)

    @property
    def proven(self) -> str:
        """Say what was compared and right."""
        wrong = sum(found.kind == "vector" for found in self.differing)
        fields = ", fields" if self.compared >= self.rows else f"; fields of {_counted(self.compared, 'row')}"
        said = [
            f"{self.rows:,} of {_counted(self.expected, 'row')}: ids, digests{fields}",
            f"{_counted(self.sampled - wrong, 'vector')} bit for bit",
        ]
        if self.pictures is not None:
            said.append(f"bytes of {_counted(self.pictures, 'image')}")
        if self.overlap is not None:
            said.append(f"FAISS and Milvus share {self.overlap:.1%} of their top {_TOP}")
        if self.compared < self.rows or self.sampled < self.rows:
            said.append(f"drawn with --seed {self.seed}")
        return "; ".join(said)


def verify(
    settings: Settings, progress: Progress, stop: threading.Event, sample: int, *,
    seed: int | None = None, pictures: bool = False,
) -> Verdict:  # fmt: skip
    """Compare all ids, digests and counts, fields, and `sample` vectors; nothing is changed.

    What is a sample is drawn with `seed`, another one in each run unless given. With `pictures` every image is hashed;
    otherwise one of the same size and time as when it was hashed last is taken for the same.

    Raises MilvusError where there is no collection to look at or it has another schema.
    """
    with ExitStack() as stack:
        pipeline = Pipeline(stack, settings, progress, stop, workspace.open_read_only)
        to = (settings.milvus_uri, settings.token, settings.db_name, settings.max_wait, stop)
        connection = stack.enter_context(connect(*to, reading=True))
        collection = Collection(
            connection, null_probe.recall(connection, pipeline.contract, pipeline.space).contract, pipeline.space
        )
        verdict = Verdict(collection.name, seed=secrets.randbelow(2**32) if seed is None else seed)
        if not collection.ready():
            verdict.differing.append(Mismatch("collection", collection.name, "is missing"))
        elif not is_loaded(connection, collection.name):
            verdict.differing.append(Mismatch("collection", collection.name, "is not loaded, so nobody can search it"))
        else:
            _note_ef(verdict, search_ef.read(collection.carried_contract()))
            verdict.differing.extend(checks.index(collection))
            there = reader.inventory(collection, pipeline.store)
            difference = diff.CollectionDiff(there, pipeline.space.fingerprint)
            verdict.differing.extend(_rows(pipeline, collection, difference, verdict, hashes=pictures))
            sampled = _sample(pipeline, there, sample, verdict)
            verdict.differing.extend(checks.vectors(collection, pipeline.store, sampled))
            if settings.exports:
                verdict.differing.extend(_files(pipeline, collection, difference, sampled, verdict))
        served = collection.alias_target()
        if served != collection.name:
            verdict.differing.append(
                Mismatch("alias", pipeline.contract.alias, f"serves {served}, not {collection.name}")
            )
        if stop.is_set():
            raise InterruptedRunError("interrupted before all was looked at")
        verdict.seconds = round(progress.seconds, 3)
        return verdict


def forget_images(settings: Settings, product_ids: Iterable[str]) -> None:
    """Have the next run hash the images of these products again, whatever their size and time."""
    with lock_folder(settings.data), closing(ImageIndex(settings.data / FOLDER / INDEX)) as index:
        for product_id in product_ids:
            if (entry := index.get(product_id)) is not None:
                index.put(replace(entry, mtime_ns=None))


def _rows(
    pipeline: Pipeline, collection: Collection, difference: diff.CollectionDiff, verdict: Verdict, *, hashes: bool
) -> Iterator[Mismatch]:
    there = difference.there
    doubled, counted = there.count_duplicates(), _counted_rows(collection, len(there), pipeline.stop)
    if doubled or counted < len(there):
        counts = f"{counted} by count(*), {len(there)} read, {doubled} doubled"
        yield Mismatch("count", collection.name, counts)
    pictures = pipeline.pictures(download=False)
    hashing = ImageHasher(pipeline.settings.download_workers)
    if hashes:
        pictures = hashing.check(pictures)
    fields = FieldComparison(collection, there, draw(len(there), verdict.seed))
    records = pipeline.pixels(difference.changes(fields.passing(pictures)))
    overlooked = 0
    for changed in batched(_changed(pipeline, difference, records), _LOOKED_UP):
        added = {product_id: digest for product_id, kind, digest in changed if kind == "added"}
        faults = {fault.name: fault for fault in checks.absent(collection, added)}
        overlooked += len(added) - len(faults)
        for product_id, kind, _ in changed:
            if kind != "added":
                yield Mismatch("row", product_id, f"has another {kind}")
            elif product_id in faults:
                yield faults[product_id]
    yield from (*fields.differing, *hashing.mismatches)
    wrong = there.find(list({found.name for found in (*fields.differing, *hashing.mismatches)}))
    right = difference.unchanged + overlooked - int((there.states[wrong[wrong != ABSENT]] == RowState.SAME).sum())
    verdict.products, verdict.rows = pipeline.progress.items(Stage.CATALOG), right
    verdict.expected, verdict.compared = len(there) - doubled + difference.added, fields.rows - len(fields.differing)
    verdict.pictures = hashing.images - len(hashing.mismatches) if hashes else None
    verdict.reasons = dict(pipeline.report.reasons.most_common())
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in verdict.reasons.items())
    for count, what in (
        (pipeline.report.skipped, f"products are skipped: {reasons}"),
        (difference.stale, "of those have a row, which is as it last was"),
        (
            0 if pipeline.settings.sample else difference.gone,
            "rows are not in the catalog; ingest run --prune deletes them",
        ),
        (there.count(RowState.FOREIGN), "rows were not written by ingest"),
        (
            overlooked,
            "rows were left out when all were read, and found by their ids: the server is at fault",
        ),
        (
            0 if doubled else max(0, counted - len(there) - overlooked),
            "rows more by count(*) than were read: it may count too many while the server compacts; ask again later",
        ),
    ):
        if count:
            verdict.notes.append(f"{count} {what}")


def _changed(
    pipeline: Pipeline, difference: diff.CollectionDiff, records: Iterable[Decoded | Embedded | Skipped]
) -> Iterator[tuple[str, str, str]]:
    """Yield (product id, what a run would do about it, row digest) of the products that a run would write."""
    for record in pipeline.report.keeping_skipped(difference.failures(records)):
        assert isinstance(record, Decoded | Embedded)
        product_id = record.product.product_id
        kind = difference.kind(product_id)
        pipeline.report.note(product_id, kind)
        yield product_id, kind, row_digest(record.product, record.sha256, pipeline.space.fingerprint)


def _counted_rows(collection: Collection, read: int, stop: threading.Event) -> int:
    """Count the rows; again if there are more than were read, for a server may count too many (milvus #31484)."""
    for _ in range(_COUNTS):
        if (counted := collection.count()) <= read or collection.connection.is_lite or stop.wait(_COUNT_EVERY_S):
            break
    return counted


def _note_ef(verdict: Verdict, contract: dict[str, Any]) -> None:
    verdict.ef, verdict.ef_schema = contract.get("ef"), contract.get("ef_schema")
    verdict.ef_measured = contract.get("ef_measured")
    if verdict.ef_measured is not None:
        verdict.notes.append(f"apps search with {search_ef.describe(contract)}")


def _sample(pipeline: Pipeline, there: Inventory, sample: int, verdict: Verdict) -> list[str]:
    """Draw right rows whose vector the store has too; of what only the collection has there is nothing to compare."""
    right = np.flatnonzero(there.states == RowState.SAME)
    if len(right) > sample:
        right = np.random.default_rng(verdict.seed).choice(right, sample, replace=False)
    verdict.sampled = sum(pipeline.kept.holds([there.sha256(place) for place in right.tolist()]))
    if alone := len(right) - verdict.sampled:
        verdict.notes.append(f"{alone} of the vectors drawn are in the collection alone; ingest run stores them")
    mask = np.zeros(len(there), bool)
    mask[right] = True
    return list(there.where(mask))


def _files(
    pipeline: Pipeline, collection: Collection, difference: diff.CollectionDiff, sampled: list[str], verdict: Verdict
) -> Iterator[Mismatch]:
    """Check the exported files against their checksums and the catalog, and the index against the collection.

    Files that a run would leave as they are, since too many products would leave them, are of an older catalog, and
    maybe of another model: their checksums alone are checked.
    """
    settings, dim = pipeline.settings, pipeline.space.dim
    files, drops = (
        export_files.ExportPaths(settings.npy, settings.npy_ids),
        PrunePolicy.of(settings).drops_failed(difference),
    )
    rows = export_files.export_content(pipeline, files, difference.there, drops_failed=drops)
    refused = export_files.refusal(pipeline, files, rows)
    made_from = None if refused else (npy_files.content_digest(rows, pipeline.store), pipeline.space.fingerprint)
    if refused:
        verdict.notes.append(f"ingest run leaves the exported files as they are: {refused}")
        last = read_manifest(files.npy)
        dim = last.dim if last else dim
    faults = [
        *npy_files.faults(files.npy, files.ids, made_from),
        *faiss_index.faults(settings.indexes, dim, files.npy),
    ]
    for path, fault in faults:
        healing = "ingest verify --repair" if fault == ALTERED else "ingest run"  # which goes by sizes
        yield Mismatch("file", str(path), f"{fault}; write it with: {_ALLOWED if refused else healing}")
    if faults or refused or not sampled:
        return
    index = faiss_index.open_index(settings.indexes, dim)
    asked = sampled[:_QUERIES]
    found = collection.find(asked, [collection.contract.index.field])
    queries = [np.asarray(row[collection.contract.index.field], np.float32) for row in found]
    answers = collection.search(queries, _TOP, checks.WIDE_EF)
    shared = total = 0
    for query, hits in zip(queries, answers, strict=True):
        if not checks.reaches(query, hits):
            continue  # one of a crowd that no search comes to, or a difference that is known by now
        nearest = index.search(query, _TOP, checks.WIDE_EF)
        worst = min(score for _, score in nearest) - checks.CROWDED  # of a crowd, others may be found
        known = [hit for hit in hits if hit.pk in index.known]  # not what the catalog has no more
        shared += sum(float(hit["distance"]) >= worst for hit in known)
        total += len(known)
    verdict.overlap = shared / total if total else None
    if verdict.overlap is not None and verdict.overlap < _OVERLAP:
        yield Mismatch("search", str(settings.indexes), f"shares {verdict.overlap:.1%} of the collection's top {_TOP}")


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
