"""The exported files: which rows they hold, whether they may replace the last export, and writing them.

They hold every product of the catalog that has a vector in the store: of today's image, or, if the product fails
today, of its last good image. Its row in the collection says which image that was, or else a file beside the last
export: `<name>.images.npz` with `images`, (n, 32) uint8, the SHA-256 of each row's image; `ids`, (32,) uint8, the
SHA-256 of the file of ids that it belongs to; and `content`, the manifest's.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from hashlib import file_digest, sha256
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.errors import ExportError, NotLiveError
from ingest.exports import faiss_index, npy_files
from ingest.runtime.atomic_files import atomic_write
from ingest.runtime.parallel import batched
from ingest.sync.guard import LEAST_KEPT_PERCENT, loses_too_many
from ingest.sync.inventory import ABSENT, SHA256_BYTES, Inventory, RowState, key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from ingest.exports.npy_files import Manifest, RowSource
    from ingest.pipeline.pipeline import Pipeline
    from ingest.store.base import EmbeddingStore

_BLOCK = 4096  # products looked up at a time
_NO_IMAGE = bytes(SHA256_BYTES)
_NO_DIGEST = "0" * 32


@dataclass(frozen=True, slots=True)
class ExportPaths:
    """Where an export is written: the `.npy`, its ids, and the folder of the FAISS files, None to write none."""

    npy: Path
    ids: Path
    indexes: Path | None = None


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was exported: `rows`, of which `carried` have the last good image of a product that fails today.

    `missing` counts products that have an image and no row. `refusal` says why the last files stay as they were, "" if
    they were replaced.
    """

    rows: int = 0
    carried: int = 0
    missing: int = 0
    refusal: str = ""


class ExportContent:
    """What an export should hold: the catalog's products, with the last good image of each that fails today.

    If a product has several rows in the catalog, it fails only if none of them has a vector; it is carried once.
    """

    def __init__(self, pipeline: Pipeline, files: ExportPaths, collection: Inventory | None) -> None:
        self._wanted = pipeline.wanted
        self._images = self._last_good(pipeline.store, _LastGood(files, collection))
        self._without_image = len(self._images)
        digest, pairs, left = sha256(self._wanted.content.encode()), 0, dict(self._images)
        for product_id, image in self._wanted.named() if left else ():
            if product_id in left:
                digest.update(f"{pairs} {left.pop(product_id).hex()} {product_id!r}\n".encode())
            self._without_image -= image is not None and product_id in self._images
            pairs += image is not None
        self._content = digest.hexdigest()

    def _last_good(self, store: EmbeddingStore, last: _LastGood) -> dict[str, bytes]:
        """Return the last good images, whose vectors are in the store, of the products without a vector today."""
        images: dict[str, bytes] = {}
        for failing, _ in self._split(store):
            found = last.images(failing) if failing else {}
            images |= compress(found.items(), store.holds(list(found.values())))
        for _, held in self._split(store) if images else ():
            for product_id in images.keys() & held:
                del images[product_id]
        return images

    def _split(self, store: EmbeddingStore) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the products without a vector and those with one, in blocks."""
        for block in batched(self._wanted.named(), _BLOCK):
            held = store.holds([image or _NO_IMAGE for _, image in block])
            ids = [product_id for product_id, _ in block]
            yield list(compress(ids, [not good for good in held])), list(compress(ids, held))

    def __len__(self) -> int:
        return len(self._images)

    def missing(self, rows: int) -> int:
        """Return how many products have an image but no row, if `rows` were written."""
        return self._wanted.rows + self._without_image - rows

    @property
    def content(self) -> str:
        """64 hex digits over the pairs; if nothing is carried, those of the catalog's own pairs."""
        return self._content if self._images else self._wanted.content

    def pairs(self) -> Iterator[tuple[str, bytes]]:
        """Yield every (product id, 32-byte key), in catalog order."""
        left = dict(self._images)
        for product_id, image in self._wanted.named():
            found = left.pop(product_id, None) if product_id in self._images else image
            if found is not None:
                yield product_id, found


class _LastGood:
    """The last good images of products, from their rows in the collection or from the last export."""

    def __init__(self, files: ExportPaths, collection: Inventory | None) -> None:
        self._files = files
        self._collection = collection or Inventory()

    def images(self, product_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the 32-byte keys of the images that are known, by product id."""
        found = _images(self._collection, product_ids)
        rest = [product_id for product_id in product_ids if product_id not in found]
        return found | _images(self._exported, rest) if rest else found

    @cached_property
    def _exported(self) -> Inventory:
        """The rows of the last export; none if its files do not belong together."""
        rows, ids = Inventory(), self._files.ids
        source = _read_images(self._files.npy)
        if source is None or not ids.is_file() or source.ids != _sha256(ids):
            return rows
        names = npy_files.read_ids(ids)
        if len(names) == len(source.images):
            rows.add(names, [_NO_DIGEST] * len(names), [image.tobytes().hex() for image in source.images])
        return rows


def _images(rows: Inventory, product_ids: Sequence[str]) -> dict[str, bytes]:
    places = rows.find([key(product_id) for product_id in product_ids]).tolist()
    return {
        product_id: rows.sha256(place)
        for product_id, place in zip(product_ids, places, strict=True)
        if place != ABSENT and rows.fates[place] != RowState.FOREIGN
    }


def export_content(
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


def write(pipeline: Pipeline, files: ExportPaths, rows: RowSource, *, rewrite: bool = False) -> ExportResult:
    """Write the `.npy` pair and the FAISS files, unless they would lose too many of the last export's products.

    Files that were made from exactly these rows are kept, unless `rewrite`. Raises StorageError if the disk is full.
    """

    def check() -> None:
        if why := refusal(pipeline, files, rows):
            raise NotLiveError(f"the exported files stay as they were, because {why}")

    npy, ids = files.npy, files.ids
    try:
        manifest = npy_files.write(npy, ids, rows, pipeline.store, pipeline.space.fingerprint, check, rewrite=rewrite)
    except NotLiveError as refused:
        return ExportResult(refusal=str(refused))
    _write_images(npy, manifest, rows, pipeline)
    if files.indexes is not None:
        faiss_index.build(npy, ids, files.indexes, pipeline.contract.index, rewrite=rewrite)
    if isinstance(rows, ExportContent):
        return ExportResult(manifest.rows, len(rows), rows.missing(manifest.rows))
    return ExportResult(manifest.rows)


def are_current(pipeline: Pipeline, files: ExportPaths, rows: RowSource) -> bool:
    """Return whether the exported pair was made from exactly these rows, so that it would not be written again."""
    manifest = npy_files.read_manifest(npy_files.manifest_path(files.npy))
    content, fingerprint = npy_files.contents(rows, pipeline.store), pipeline.space.fingerprint
    return manifest is not None and manifest.holds_for(content, fingerprint, files.npy, files.ids)


def refusal(pipeline: Pipeline, files: ExportPaths, rows: RowSource, coming: Iterable[str] = ()) -> str:
    """Return why `rows` may not replace the last export, because too many products would be lost; "" if they may.

    `coming` are products that will have a row, though the store may not have their vector before a run.
    """
    if pipeline.settings.sample and files.npy == pipeline.settings.npy:
        return ""  # a sample is exported to files of its own
    try:
        last = set(npy_files.read_ids(files.ids))
    except ExportError:
        return ""  # there is no last export, or nobody can use it
    lost = last.difference(coming)
    for block in batched(rows.pairs(), _BLOCK):
        held = pipeline.store.holds([image for _, image in block])
        lost.difference_update(compress((product_id for product_id, _ in block), held))
    if not loses_too_many(lost, last, allowed=pipeline.settings.allow_smaller):
        return ""
    if are_current(pipeline, files, rows):
        return ""  # the file of ids is damaged, and names products that were never exported
    failing = sum(product_id in lost for product_id, _ in pipeline.wanted.named())
    where = "sample" if pipeline.settings.sample else "catalog"
    why = [f"{failing:,} fail today"] * bool(failing)
    why += [f"{len(lost) - failing:,} not in the {where}"] * (len(lost) > failing)
    return (
        f"they would lose {len(lost):,} of their {len(last):,} products ({', '.join(why)}), "
        f"more than {100 - LEAST_KEPT_PERCENT} %; if that is right, pass --allow-smaller"
    )


@dataclass(frozen=True, slots=True)
class _SourceImages:
    """The file beside an export: `images` is (n, 32) uint8, `ids` 32 bytes, `content` the manifest's."""

    images: np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    ids: bytes
    content: str


def _read_images(npy: Path) -> _SourceImages | None:
    """Read which images an export was made from; None if that is not known."""
    try:
        with images_path(npy).open("rb") as file, np.load(file, allow_pickle=False) as parts:
            images, ids, content = parts["images"], parts["ids"], parts["content"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if images.ndim != 2 or images.dtype != np.uint8 or images.shape[1] != SHA256_BYTES:
        return None
    return _SourceImages(images, ids.tobytes(), str(content))


def _write_images(npy: Path, manifest: Manifest, rows: RowSource, pipeline: Pipeline) -> None:
    """Write which image each exported row was made from, unless the file says so already."""
    source = _read_images(npy)
    if source is not None and source.content == manifest.content:
        return
    keys = bytearray()
    for block in batched(rows.pairs(), _BLOCK):
        wanted = [image for _, image in block]
        keys += b"".join(compress(wanted, pipeline.store.holds(wanted)))
    images = np.frombuffer(bytes(keys), np.uint8).reshape(-1, SHA256_BYTES)
    if len(images) == manifest.rows:  # not if a damaged vector was found during the export
        (ids,) = (bytes.fromhex(sums.sha256) for name, sums in manifest.files.items() if name != npy.name)
        with atomic_write(images_path(npy)) as file:
            np.savez(file, images=images, ids=np.frombuffer(ids, np.uint8), content=np.array(manifest.content))


def images_path(npy: Path) -> Path:
    """Return the path of the file that says which image each row of an exported `.npy` was made from."""
    return npy.with_name(f"{npy.stem}.images.npz")


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return file_digest(file, "sha256").digest()
