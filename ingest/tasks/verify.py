"""Checks that the collection, the alias and the exported files match the catalog and the store."""

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
from ingest.images.cache.cache import FOLDER, INDEX
from ingest.images.cache.checksums import ImageHasher
from ingest.images.cache.index import ImageIndex
from ingest.milvus import checks, null_probe, reader
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.milvus.field_checks import FieldComparison, draw
from ingest.milvus.loading import is_loaded
from ingest.pipeline import workspace
from ingest.pipeline.pipeline import Pipeline
from ingest.runtime.lock import lock_folder
from ingest.runtime.parallel import batched
from ingest.sync import diff
from ingest.sync.inventory import ABSENT, RowState, key
from ingest.tasks import verify_files

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator

    from ingest.core.records import Skipped
    from ingest.core.settings import Settings
    from ingest.pipeline.progress import Progress
    from ingest.sync.inventory import Inventory

_LOOKED_UP = 1000  # rows per query by ids
_COUNTS, _COUNT_EVERY_S = 5, 1.0


@dataclass(slots=True)
class Verdict:
    """What was verified: `rows` of `expected` are right, `sampled` vectors were compared.

    `overlap` is the share of the top 10 that FAISS and Milvus have in common, None if unknown. `compared` is how many
    rows' fields were compared; a sample of rows or vectors is drawn with `seed`. `pictures` is how many images were
    hashed again, None if that was not asked for. `reasons` counts the skipped products. `differing` is everything that
    is wrong; `notes` are for the user, about what is not wrong. Apps search with `ef`: the measured one if there is
    one, else the schema's.
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
        """The products whose rows are wrong although their digests are right."""
        return [found.name for found in self.differing if found.kind in ("vector", "search", "field")]

    @property
    def has_wrong_files(self) -> bool:
        """Whether exported files must be written again, even if their sizes are right."""
        return any(found.kind in ("file", "search") for found in self.differing)

    @property
    def proven(self) -> str:
        """What was compared and is right, in words."""
        wrong = sum(found.kind == "vector" for found in self.differing)
        fields = ", fields" if self.compared >= self.rows else f"; fields of {_counted(self.compared, 'row')}"
        said = [
            f"{self.rows:,} of {_counted(self.expected, 'row')}: ids, digests{fields}",
            f"{_counted(self.sampled - wrong, 'vector')} bit for bit",
        ]
        if self.pictures is not None:
            said.append(f"bytes of {_counted(self.pictures, 'image')}")
        if self.overlap is not None:
            said.append(f"FAISS and Milvus share {self.overlap:.1%} of their top {verify_files.TOP}")
        if self.compared < self.rows or self.sampled < self.rows:
            said.append(f"drawn with --seed {self.seed}")
        return "; ".join(said)


def verify(
    settings: Settings, progress: Progress, stop: threading.Event, sample: int, *,
    seed: int | None = None, pictures: bool = False,
) -> Verdict:  # fmt: skip
    """Compare all ids, digests and counts, the fields, and `sample` vectors; nothing is changed.

    Samples are drawn with `seed`, a random one if not given. With `pictures` every image is hashed; otherwise an image
    with the size and time that it had when it was last hashed counts as unchanged.

    Raises MilvusError if the collection cannot be read or has another schema.
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
            _note_ef(verdict, search_ef.read(collection.carried()))
            verdict.differing.extend(checks.index(collection))
            there = reader.inventory(collection, pipeline.store)
            difference = diff.CollectionDiff(there, pipeline.space.fingerprint)
            verdict.differing.extend(_rows(pipeline, collection, difference, verdict, hashes=pictures))
            sampled = _sample(pipeline, there, sample, verdict)
            verdict.differing.extend(checks.vectors(collection, pipeline.store, sampled))
            if settings.exports:
                verdict.differing.extend(verify_files.check(pipeline, collection, difference, sampled, verdict))
        served = collection.served()
        if served != collection.name:
            verdict.differing.append(
                Mismatch("alias", pipeline.contract.alias, f"serves {served}, not {collection.name}")
            )
        if stop.is_set():
            raise InterruptedRunError("interrupted before everything was checked")
        verdict.seconds = round(progress.seconds, 3)
        return verdict


def forget_images(settings: Settings, product_ids: Iterable[str]) -> None:
    """Make the next run hash the images of these products again, whatever their size and time."""
    with lock_folder(settings.data), closing(ImageIndex(settings.data / FOLDER / INDEX)) as index:
        for product_id in product_ids:
            if (entry := index.get(product_id)) is not None:
                index.put(replace(entry, mtime_ns=None))


def _rows(
    pipeline: Pipeline, collection: Collection, difference: diff.CollectionDiff, verdict: Verdict, *, hashes: bool
) -> Iterator[Mismatch]:
    there = difference.there
    doubled, counted = there.doubled(), _counted_rows(collection, len(there), pipeline.stop)
    if doubled or counted < len(there):
        counts = f"{counted} by count(*), {len(there)} read, {doubled} doubled"
        yield Mismatch("count", collection.name, counts)
    images = pipeline.images(download=False)
    hashing = ImageHasher(pipeline.settings.download_workers)
    if hashes:
        images = hashing.passing(images)
    fields = FieldComparison(collection, there, draw(len(there), verdict.seed))
    records = pipeline.pixels(difference.changes(fields.passing(images)))
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
    yield from (*fields.differing, *hashing.differing)
    wrong = there.find([key(name) for name in {found.name for found in (*fields.differing, *hashing.differing)}])
    wrong_rows = int((there.fates[wrong[wrong != ABSENT]] == RowState.SAME).sum())
    verdict.products = pipeline.progress.items(Stage.CATALOG)
    verdict.rows = difference.unchanged + overlooked - wrong_rows
    verdict.expected, verdict.compared = len(there) - doubled + difference.added, fields.rows - len(fields.differing)
    verdict.pictures = hashing.pictures - len(hashing.differing) if hashes else None
    verdict.reasons = dict(pipeline.report.reasons.most_common())
    uncounted = 0 if doubled else max(0, counted - len(there) - overlooked)
    verdict.notes += _row_notes(pipeline, difference, overlooked, uncounted)


def _row_notes(pipeline: Pipeline, difference: diff.CollectionDiff, overlooked: int, uncounted: int) -> list[str]:
    """Return notes of rows and products that are no mismatch.

    `overlooked` rows were only found by their ids, and `uncounted` ones only by count(*).
    """
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in pipeline.report.reasons.most_common())
    gone = 0 if pipeline.settings.sample else difference.gone
    counts = (
        (pipeline.report.skipped, f"products are skipped: {reasons}"),
        (difference.stale, "of those have a row, which is as it last was"),
        (gone, "rows are not in the catalog; ingest run --prune deletes them"),
        (difference.there.count(RowState.FOREIGN), "rows were not written by ingest"),
        (overlooked, "rows were left out when all were read, and found by their ids: the server is at fault"),
        (uncounted,
         "rows more by count(*) than were read: it may count too many while the server compacts; verify again later"),
    )  # fmt: skip
    return [f"{count} {what}" for count, what in counts if count]


def _changed(
    pipeline: Pipeline, difference: diff.CollectionDiff, records: Iterable[Decoded | Embedded | Skipped]
) -> Iterator[tuple[str, str, str]]:
    """Yield (product id, what a run would do, row digest) of the products that a run would write."""
    for record in pipeline.report.keep_skipped(difference.failures(records)):
        assert isinstance(record, Decoded | Embedded)
        product_id = record.product.product_id
        kind = difference.kind(product_id)
        pipeline.report.add_change(product_id, kind)
        yield product_id, kind, row_digest(record.product, record.sha256, pipeline.space.fingerprint)


def _counted_rows(collection: Collection, read: int, stop: threading.Event) -> int:
    """Count the rows; again if there are more than were read, because a server may count too many (milvus #31484)."""
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
    """Draw a sample of right rows; the vectors of those that the store does not have cannot be compared."""
    right = np.flatnonzero(there.fates == RowState.SAME)
    if len(right) > sample:
        right = np.random.default_rng(verdict.seed).choice(right, sample, replace=False)
    verdict.sampled = sum(pipeline.kept.holds([there.sha256(place) for place in right.tolist()]))
    if alone := len(right) - verdict.sampled:
        verdict.notes.append(f"{alone} of the vectors drawn are in the collection alone; ingest run stores them")
    mask = np.zeros(len(there), bool)
    mask[right] = True
    return list(there.where(mask))


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
