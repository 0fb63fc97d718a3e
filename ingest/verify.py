"""Proves that the collection, the alias and the exported files are what the catalog and the store say."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest import sync, tuning
from ingest.durable import writing_to
from ingest.errors import InterruptedRunError
from ingest.inventory import Fate
from ingest.line import Line
from ingest.records import Decoded, Embedded, Stage
from ingest.sinks import faiss
from ingest.sinks.milvus import proof, reader
from ingest.sinks.milvus.collection import Collection
from ingest.sinks.milvus.connection import opened
from ingest.sinks.milvus.proof import Differing
from ingest.store import arrays

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from ingest.config import Settings
    from ingest.inventory import Inventory
    from ingest.progress import Progress

_QUERIES, _TOP = 100, 10
_OVERLAP = 0.9
"""How much of the FAISS files' top 10 the collection's must share: both indexes are approximate."""
_SEED = 0


@dataclass(slots=True)
class Verdict:
    """What was proven: `rows` right ones, `sampled` vectors, `overlap` of the top 10 (None: no files).

    `differing` is all that is not as it should be; `notes` is what a user may want to know and is as it should be.
    Apps search with `ef`: the measured one if there is one, else the schema's.
    """

    collection: str = ""
    products: int = 0
    rows: int = 0
    sampled: int = 0
    overlap: float | None = None
    differing: list[Differing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    ef: int | None = None
    ef_schema: int | None = None
    ef_measured: int | None = None

    @property
    def distrusted(self) -> list[str]:
        """The products whose row says that it is right and is not."""
        return [found.name for found in self.differing if found.kind in ("vector", "search")]


def verify(settings: Settings, progress: Progress, stop: threading.Event, sample: int) -> Verdict:
    """Compare all ids, digests and counts, and `sample` vectors; nothing is changed.

    Raises MilvusError where there is no collection to look at or it has another schema.
    """
    with ExitStack() as stack:
        line = Line(stack, settings, progress, stop)
        to = (settings.milvus_uri, settings.token, settings.db_name, settings.max_wait, stop)
        connection = stack.enter_context(opened(*to, existing=True))
        collection = Collection(connection, line.contract, line.space)
        verdict = Verdict(collection.name)
        if collection.ready():
            _note_ef(verdict, tuning.read(collection.carried()))
            verdict.differing.extend(proof.index(collection))
            there = reader.inventory(collection, line.store)
            verdict.differing.extend(_rows(line, collection, there, verdict))
            sampled = _sample(there, sample)
            verdict.sampled = len(sampled)
            verdict.differing.extend(proof.vectors(collection, line.store, sampled))
            if settings.exports:
                verdict.differing.extend(_files(line, collection, sampled, verdict))
        else:
            verdict.differing.append(Differing("collection", collection.name, "is not there"))
        served = collection.served()
        if served != collection.name:
            verdict.differing.append(Differing("alias", line.contract.alias, f"serves {served}, not {collection.name}"))
        if stop.is_set():
            raise InterruptedRunError("interrupted before all was looked at")
        verdict.seconds = round(progress.seconds, 3)
        line.cache.flush()
        line.report.write(verdict, {}, "differs" if verdict.differing else "verified")
        return verdict


def forget_exports(settings: Settings) -> None:
    """Have the next run write the exported files anew."""
    for folder, names in ((settings.npy.parent, settings.npy.stem), (settings.indexes, "hnsw_clip_*")):
        with writing_to(folder):
            for manifest in folder.glob(f"{names}.manifest.json"):
                manifest.unlink(missing_ok=True)


def _rows(line: Line, collection: Collection, there: Inventory, verdict: Verdict) -> Iterator[Differing]:
    if (doubled := there.doubled()) or collection.count() != len(there):
        counts = f"{collection.count()} by count(*), {len(there)} read, {doubled} doubled"
        yield Differing("count", collection.name, counts)
    difference = sync.Difference(there, line.space.fingerprint)
    records = line.pixels(difference.changes(line.pictures(download=False)))
    for record in line.report.keeping_skipped(difference.failures(records)):
        assert isinstance(record, Decoded | Embedded)
        kind = difference.kind(record.product.product_id)
        line.report.note(record.product.product_id, kind)
        yield Differing("row", record.product.product_id, "is missing" if kind == "added" else f"has another {kind}")
    verdict.products, verdict.rows = line.progress.items(Stage.CATALOG), difference.unchanged
    for count, what in (
        (line.report.skipped, "products are skipped, as skipped.csv says"),
        (difference.stale, "of those have a row, which is as it last was"),
        (
            0 if line.settings.sample else difference.gone,
            "rows are not in the catalog; ingest run --prune deletes them",
        ),
        (there.count(Fate.FOREIGN), "rows were not written by ingest"),
    ):
        if count:
            verdict.notes.append(f"{count} {what}")


def _note_ef(verdict: Verdict, contract: dict[str, Any]) -> None:
    verdict.ef, verdict.ef_schema = contract.get("ef"), contract.get("ef_schema")
    verdict.ef_measured = contract.get("ef_measured")
    if verdict.ef_measured is not None:
        verdict.notes.append(f"apps search with {tuning.described(contract)}")


def _sample(there: Inventory, sample: int) -> list[str]:
    right = np.flatnonzero(there.fates == Fate.SAME)
    if len(right) > sample:
        right = np.random.default_rng(_SEED).choice(right, sample, replace=False)
    mask = np.zeros(len(there), bool)
    mask[right] = True
    return list(there.where(mask))


def _files(line: Line, collection: Collection, sampled: list[str], verdict: Verdict) -> Iterator[Differing]:
    """Check the exported files against their checksums and the catalog, and the index against the collection."""
    settings, dim = line.settings, line.space.dim
    faults = [
        *arrays.faults(
            settings.npy, settings.npy_ids, arrays.contents(line.wanted, line.store), line.space.fingerprint
        ),
        *faiss.faults(settings.indexes, dim, settings.npy),
    ]
    for path, fault in faults:
        yield Differing("file", str(path), f"{fault}; write it with: ingest export")
    if faults or not sampled:
        return
    index = faiss.opened(settings.indexes, dim)
    asked = sampled[:_QUERIES]
    found = collection.matching(asked, [collection.contract.index.field])
    queries = [np.asarray(row[collection.contract.index.field], np.float32) for row in found]
    answers = collection.search(queries, _TOP, proof.WIDE_EF)
    shared = total = 0
    for query, hits in zip(queries, answers, strict=True):
        nearest = index.search(query, _TOP, proof.WIDE_EF)
        worst = min(score for _, score in nearest) - proof.CLOSE_ENOUGH
        known = [hit for hit in hits if hit.pk in index.known]  # the files have no stale rows
        shared += sum(float(hit["distance"]) >= worst for hit in known)
        total += len(known)
    verdict.overlap = shared / total if total else None
    if verdict.overlap is not None and verdict.overlap < _OVERLAP:
        yield Differing("search", str(settings.indexes), f"shares {verdict.overlap:.1%} of the collection's top {_TOP}")
