"""Embeds a sample of the images again, and compares the result with what the collection holds.

A digest proves which image a row is of, not that its vector is that image's: another app, or a damaged store, may have
put another unit vector there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest.core.contract import PRIMARY_KEY
from ingest.core.records import Embedded, Mismatch
from ingest.embedding import encoder as embedding
from ingest.runtime.parallel import batched
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.milvus.collection import Collection
    from ingest.pipeline.pipeline import Pipeline
    from ingest.sync.inventory import Inventory
    from ingest.tasks.verdict import Verdict

LEAST_COSINE = 0.998
"""Of two vectors of one image. In bfloat16 a vector has a cosine of 0.9999 or more with the one in float32, and with
`--exact` of 0.9995 with the one without. Both together, at the sum of their angles, give 0.9982."""
_COMPARED = 200


def check(
    pipeline: Pipeline, collection: Collection, inventory: Inventory, images: int, verdict: Verdict
) -> Iterator[Mismatch]:
    """Embed the images of so many right rows, drawn by the verdict's seed, and yield the rows that differ.

    Raises ModelError or NoTorchError if the model cannot be loaded.
    """
    right = np.flatnonzero(inventory.states == RowState.SAME)
    if len(right) > images:
        right = np.random.default_rng(verdict.seed).choice(right, images, replace=False)
    drawn = np.zeros(len(inventory), bool)
    drawn[right] = True
    model = pipeline.encoder()
    pixels = pipeline.decode(pipeline.images_of(frozenset(inventory.where(drawn))))
    field, cosines = collection.contract.index.field, list[float]()
    for batch in batched(embedding.embed(pixels, model, model.size), _COMPARED):
        again = {record.product.product_id: record.vector for record in batch if isinstance(record, Embedded)}
        failed = len(batch) - len(again)
        if failed:
            verdict.notes.append(f"{failed} of the images drawn cannot be embedded today")
        for row in collection.find(list(again), [PRIMARY_KEY, field]) if again else ():
            cosine = float(np.dot(np.asarray(row[field], np.float64), again[row[PRIMARY_KEY]]))
            if cosine >= LEAST_COSINE:
                cosines.append(cosine)
            else:
                yield Mismatch(
                    "embedding", row[PRIMARY_KEY], f"is not its image's: cosine {cosine:.4f} with it embedded again"
                )
    verdict.embedded, verdict.cosine = len(cosines), min(cosines, default=None)
