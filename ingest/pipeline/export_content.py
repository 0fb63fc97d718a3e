"""Which rows an export holds: every product of the catalog that has a vector in the store.

The vector is that of today's image or, if the product fails today, of its last good image.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from itertools import compress
from typing import TYPE_CHECKING

from ingest.pipeline.last_good_images import LastGoodImages
from ingest.runtime.parallel import batched
from ingest.sync.inventory import SHA256_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest.exports.npy_files import RowSource
    from ingest.pipeline.pipeline import Pipeline
    from ingest.store.base import EmbeddingStore
    from ingest.sync.inventory import Inventory

_BLOCK = 4096  # products looked up at a time
_NO_IMAGE = bytes(SHA256_BYTES)


@dataclass(frozen=True, slots=True)
class ExportPaths:
    """Where an export is written: the `.npy`, its ids, the FAISS files' folder, and the Parquet file; None for none."""

    npy: Path
    ids: Path
    indexes: Path | None = None
    parquet: Path | None = None


class ExportContent:
    """What an export should hold: the catalog's products, with the last good image of each that fails today.

    If a product has several rows in the catalog, it fails only if none of them has a vector; it is carried once.
    `content` is 64 hex digits over the pairs; if nothing is carried, those of the catalog's own pairs.
    """

    def __init__(self, pipeline: Pipeline, files: ExportPaths, collection: Inventory | None) -> None:
        self._wanted = pipeline.wanted
        self._images = self._carried(pipeline.store, LastGoodImages(files.npy, files.ids, collection))
        self._rows, self.content = self._describe() if self._images else (self._wanted.rows, self._wanted.content)

    def _carried(self, store: EmbeddingStore, last: LastGoodImages) -> dict[str, bytes]:
        """Return the last good images, whose vectors are in the store, of the products without a vector today."""
        images: dict[str, bytes] = {}
        for failing, _ in self._split(store):
            found = last.find(failing) if failing else {}
            images |= compress(found.items(), store.holds(list(found.values())))
        for _, held in self._split(store) if images else ():
            for product_id in images.keys() & held:
                del images[product_id]
        return images

    def _split(self, store: EmbeddingStore) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the products without a vector and those with one, in blocks."""
        for block in batched(self._wanted.products(), _BLOCK):
            held = store.holds([image or _NO_IMAGE for _, image in block])
            ids = [product_id for product_id, _ in block]
            yield list(compress(ids, [not good for good in held])), list(compress(ids, held))

    def __len__(self) -> int:
        return len(self._images)

    def missing(self, rows: int) -> int:
        """Return how many products have an image but no row, if `rows` were written."""
        return self._rows - rows

    def _describe(self) -> tuple[int, str]:
        """Return the number of pairs, and 64 hex digits over the catalog's pairs and the carried ones among them."""
        digest, rows, place, left = sha256(self._wanted.content.encode()), 0, 0, dict(self._images)
        for product_id, image in self._wanted.products():
            if product_id in left:
                digest.update(f"{place} {left.pop(product_id).hex()} {product_id!r}\n".encode())
                rows += 1
            elif image is not None and product_id not in self._images:
                rows += 1
            place += image is not None
        return rows, digest.hexdigest()

    def pairs(self) -> Iterator[tuple[str, bytes]]:
        """Yield every (product id, 32-byte key), in catalog order."""
        left = dict(self._images)
        for product_id, image in self._wanted.products():
            found = left.pop(product_id, None) if product_id in self._images else image
            if found is not None:
                yield product_id, found


def rows_to_export(
    pipeline: Pipeline,
    files: ExportPaths,
    collection: Inventory | None,
    *,
    drops_failed: bool = False,
    is_judged: bool = True,
) -> RowSource:
    """Return the rows for an export, with the last good ones of products that fail today unless `drops_failed`.

    If every product `is_judged`, as after a run, those that fail are those that were skipped.
    """
    fails = pipeline.report.skipped or not is_judged
    return ExportContent(pipeline, files, collection) if fails and not drops_failed else pipeline.wanted
