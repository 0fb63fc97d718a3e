"""Checks the rows of the collection: their number, and what a run over the catalog would change about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core.digest import row_digest
from ingest.core.records import Decoded, Embedded, Mismatch, Stage
from ingest.core.wording import quantity
from ingest.images.cache.checksums import ImageHasher
from ingest.milvus import checks
from ingest.milvus.field_checks import FieldComparison, draw
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.parallel import batched
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator

    from ingest.core.records import Skipped
    from ingest.milvus.collection import Collection
    from ingest.pipeline.pipeline import Pipeline
    from ingest.sync.diff import CollectionDiff
    from ingest.tasks.verdict import Verdict

_LOOKED_UP = 1000  # rows per query by ids
_COUNTS, _COUNT_EVERY_S = 5, 1.0
_DIFFERS = {
    "picture": "is of another image",
    "metadata": "has other metadata",
    "both": "is of another image, and has other metadata",
}


def check(
    pipeline: Pipeline, collection: Collection, difference: CollectionDiff, verdict: Verdict, *, hashes: bool
) -> Iterator[Mismatch]:
    """Yield the rows that differ from what a run would write, and fill in the verdict's counts and notes.

    If it `hashes`, every image's bytes are read again.
    """
    inventory = difference.inventory
    doubled, counted = inventory.count_duplicates(), _counted_rows(collection, len(inventory), pipeline.stop)
    if doubled or counted < len(inventory):
        counts = f"{counted} by count(*), {len(inventory)} read, {doubled} doubled"
        yield Mismatch("count", collection.name, counts)
    images = pipeline.images(download=False)
    hashing = ImageHasher(pipeline.settings.download_workers)
    if hashes:
        images = hashing.check(images)
    fields = FieldComparison(collection, inventory, draw(len(inventory), verdict.seed))
    records = pipeline.pixels(difference.changes(fields.compare(images)))
    overlooked = 0
    for changed in batched(_changed(pipeline, difference, records), _LOOKED_UP):
        added = {product_id: digest for product_id, kind, digest in changed if kind == "added"}
        faults = {fault.name: fault for fault in checks.absent(collection, added)}
        overlooked += len(added) - len(faults)
        for product_id, kind, _ in changed:
            if kind != "added":
                yield Mismatch("row", product_id, _DIFFERS.get(kind, f"is {kind}"))
            elif product_id in faults:
                yield faults[product_id]
    yield from (*fields.mismatches, *hashing.mismatches)
    wrong = inventory.find(list({found.name for found in (*fields.mismatches, *hashing.mismatches)}))
    wrong_rows = int((inventory.states[wrong[wrong != ABSENT]] == RowState.SAME).sum())
    verdict.products = pipeline.progress.items(Stage.CATALOG)
    verdict.rows = difference.unchanged + overlooked - wrong_rows
    verdict.expected, verdict.compared = (
        len(inventory) - doubled + difference.added,
        fields.rows - len(fields.mismatches),
    )
    verdict.pictures = hashing.images - len(hashing.mismatches) if hashes else None
    verdict.reasons = dict(pipeline.report.reasons.most_common())
    uncounted = 0 if doubled else max(0, counted - len(inventory) - overlooked)
    verdict.notes += _row_notes(pipeline, difference, overlooked, uncounted)


def _row_notes(pipeline: Pipeline, difference: CollectionDiff, overlooked: int, uncounted: int) -> list[str]:
    """Return notes of rows and products that are no mismatch.

    `overlooked` rows were only found by their ids, and `uncounted` ones only by count(*).
    """
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in pipeline.report.reasons.most_common())
    gone = 0 if pipeline.settings.sample else difference.gone
    counts = (
        (pipeline.report.skipped, "product is", "products are", f"skipped: {reasons}"),
        (difference.stale, "of those has", "of those have", "a row, which is as it last was"),
        (gone, "row is", "rows are", "not in the catalog; ingest run --prune deletes what is not"),
        (difference.inventory.count(RowState.FOREIGN), "row was", "rows were", "not written by ingest"),
        (overlooked, "row was", "rows were",
         "left out when all were read, and found by id: the server is at fault"),
        (uncounted, "row", "rows",
         "more by count(*) than were read: it may count too many while the server compacts; verify again later"),
    )  # fmt: skip
    return [f"{quantity(count, one, many)} {what}" for count, one, many, what in counts if count]


def _changed(
    pipeline: Pipeline, difference: CollectionDiff, records: Iterable[Decoded | Embedded | Skipped]
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
