"""The exported files: which rows they have, whether they may replace the last ones, and writing them.

They hold every product of the catalog whose vector the store has: by today's image, or, if the product fails today,
by its last good one. Which image that was says its row in the collection, or else what lies beside the last export:
`<name>.images.npz` with `images`, (n, 32) uint8, the SHA-256 of each row's image; `ids`, (32,) uint8, the SHA-256 of
the file of ids that it belongs to; and `content`, the manifest's.
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
from ingest.exports.manifest import read_manifest
from ingest.runtime.atomic_files import atomic_write
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.parallel import batched
from ingest.sync.guard import LEAST_KEPT_PERCENT, loses_too_many
from ingest.sync.inventory import SHA256_BYTES, Inventory, RowState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from ingest.exports.manifest import Manifest
    from ingest.exports.npy_files import RowSource
    from ingest.pipeline.pipeline import Pipeline
    from ingest.store.base import EmbeddingStore

_BLOCK = 4096  # products looked up at a time
_NO_IMAGE = bytes(SHA256_BYTES)
_NO_DIGEST = "0" * 32


@dataclass(frozen=True, slots=True)
class ExportPaths:
    """Where an export goes: the `.npy`, its ids, and the folder of the FAISS files, None for none of them."""

    npy: Path
    ids: Path
    indexes: Path | None = None


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What became of an export: its `rows`, of which `carried` are by the last good image of a product that fails.

    `missing` counts products that have an image and no row. `refusal` says why the last files stay as they were, "" if
    they were replaced.
    """

    rows: int = 0
    carried: int = 0
    missing: int = 0
    refusal: str = ""


class ExportContent:
    """What an export should hold: what the catalog wants, and the last good image of each product that fails today.

    A product that has a vector by some row of today's does not fail, and each product that does is carried once.
    """

    def __init__(self, pipeline: Pipeline, files: ExportPaths, collection: Inventory | None) -> None:
        self._wanted = pipeline.wanted
        self._images = self._found(pipeline.store, _LastGood(files, collection))
        self._without_image = len(self._images)
        digest, pairs, left = sha256(self._wanted.content.encode()), 0, dict(self._images)
        for product_id, image in self._wanted.products() if left else ():
            if product_id in left:
                digest.update(f"{pairs} {left.pop(product_id).hex()} {product_id!r}\n".encode())
            self._without_image -= image is not None and product_id in self._images
            pairs += image is not None
        self._content = digest.hexdigest()

    def _found(self, store: EmbeddingStore, last: _LastGood) -> dict[str, bytes]:
        """Return the last good images of the products that have no vector today."""
        images: dict[str, bytes] = {}
        for failing, _ in self._split(store):
            found = last.images(failing) if failing else {}
            images |= compress(found.items(), store.holds(list(found.values())))
        for _, held in self._split(store) if images else ():
            for product_id in images.keys() & held:
                del images[product_id]
        return images

    def _split(self, store: EmbeddingStore) -> Iterator[tuple[list[str], list[str]]]:
        """Yield the products without a vector and those with one, some thousands at a time."""
        for block in batched(self._wanted.products(), _BLOCK):
            held = store.holds([image or _NO_IMAGE for _, image in block])
            ids = [product_id for product_id, _ in block]
            yield list(compress(ids, [not good for good in held])), list(compress(ids, held))

    def __len__(self) -> int:
        return len(self._images)

    def missing(self, rows: int) -> int:
        """Return how many products have an image and none of the `rows` that were written."""
        return self._wanted.rows + self._without_image - rows

    @property
    def content(self) -> str:
        """64 hex digits over the pairs; where nothing is carried, those of what the catalog wants."""
        return self._content if self._images else self._wanted.content

    def pairs(self) -> Iterator[tuple[str, bytes]]:
        """Yield every (product id, 32-byte key), in catalog order."""
        left = dict(self._images)
        for product_id, image in self._wanted.products():
            found = left.pop(product_id, None) if product_id in self._images else image
            if found is not None:
                yield product_id, found


class _LastGood:
    """The images that products had when they last came through, by their rows or by the last export."""

    def __init__(self, files: ExportPaths, collection: Inventory | None) -> None:
        self._files = files
        self._collection = collection or Inventory()

    def images(self, product_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the 32-byte keys of those that are known, by product id."""
        found = _images(self._collection, product_ids)
        rest = [product_id for product_id in product_ids if product_id not in found]
        return found | _images(self._exported, rest) if rest else found

    @cached_property
    def _exported(self) -> Inventory:
        """The rows of the last export; none where the files do not belong together."""
        rows, (npy, ids) = Inventory(), (self._files.npy, self._files.ids)
        noted = _noted(npy)
        if noted is None or not ids.is_file() or noted.ids != _sha256(ids):
            return rows
        names = npy_files.read_ids(ids)
        if len(names) == len(noted.images):
            rows.add(names, [_NO_DIGEST] * len(names), [image.tobytes().hex() for image in noted.images])
        return rows


def _images(rows: Inventory, product_ids: Sequence[str]) -> dict[str, bytes]:
    places = rows.find(product_ids).tolist()
    return {
        product_id: rows.sha256(place)
        for product_id, place in zip(product_ids, places, strict=True)
        if place != ABSENT and rows.states[place] != RowState.FOREIGN
    }


def export_content(
    pipeline: Pipeline,
    files: ExportPaths,
    collection: Inventory | None,
    *,
    drops_failed: bool = False,
    is_judged: bool = True,
) -> RowSource:
    """Return which rows an export has: also the last good ones of what fails today, unless a run `drops_failed`.

    If all `is_judged`, what fails is what was skipped.
    """
    fails = pipeline.report.skipped or not is_judged
    return ExportContent(pipeline, files, collection) if fails and not drops_failed else pipeline.wanted


def write(pipeline: Pipeline, files: ExportPaths, rows: RowSource, *, rewrite: bool = False) -> ExportResult:
    """Write the `.npy` pair and the FAISS files, unless too many of the last export's products would leave them.

    Files made from just these rows are left as they are, unless told to `rewrite` them.
    Raises StorageError where the disk is full.
    """

    def check() -> None:
        if why := refusal(pipeline, files, rows):
            raise NotLiveError(f"the exported files stay as they were, for {why}")

    npy, ids = files.npy, files.ids
    try:
        manifest = npy_files.write(npy, ids, rows, pipeline.store, pipeline.space.fingerprint, check, rewrite=rewrite)
    except NotLiveError as refused:
        return ExportResult(refusal=str(refused))
    _note_images(npy, manifest, rows, pipeline)
    if files.indexes is not None:
        faiss_index.build(npy, ids, files.indexes, pipeline.contract.index, rewrite=rewrite)
    if isinstance(rows, ExportContent):
        return ExportResult(manifest.rows, len(rows), rows.missing(manifest.rows))
    return ExportResult(manifest.rows)


def are_current(pipeline: Pipeline, files: ExportPaths, rows: RowSource) -> bool:
    """Return whether the exported pair was made from just these rows, so that it would not be written again."""
    manifest = read_manifest(files.npy)
    content, fingerprint = npy_files.content_digest(rows, pipeline.store), pipeline.space.fingerprint
    return manifest is not None and manifest.matches(content, fingerprint, files.npy, files.ids)


def refusal(pipeline: Pipeline, files: ExportPaths, rows: RowSource, coming: Iterable[str] = ()) -> str:
    """Return why `rows` may not replace the last export, whose products would leave it, or "" if they may.

    `coming` is products that will have a row, though the store may lack their vector until a run has made it.
    """
    if pipeline.settings.sample and files.npy == pipeline.settings.npy:
        return ""  # a sample's own files replace nobody's
    try:
        last = set(npy_files.read_ids(files.ids))
    except ExportError:
        return ""  # there is none, or nobody can use it
    lost = last.difference(coming)
    for block in batched(rows.pairs(), _BLOCK):
        held = pipeline.store.holds([image for _, image in block])
        lost.difference_update(compress((product_id for product_id, _ in block), held))
    if not loses_too_many(lost, last, allowed=pipeline.settings.allow_smaller):
        return ""
    if are_current(pipeline, files, rows):
        return ""  # the ids are damaged, and name what was never exported
    failing = sum(product_id in lost for product_id, _ in pipeline.wanted.products())
    where = "sample" if pipeline.settings.sample else "catalog"
    why = [f"{failing:,} fail today"] * bool(failing)
    why += [f"{len(lost) - failing:,} not in the {where}"] * (len(lost) > failing)
    return (
        f"{len(lost):,} of their {len(last):,} products would leave them ({', '.join(why)}), "
        f"more than {100 - LEAST_KEPT_PERCENT} %; if that is right, pass --allow-smaller"
    )


@dataclass(frozen=True, slots=True)
class _Noted:
    """What lies beside an export: `images` is (n, 32) uint8, `ids` 32 bytes, `content` the manifest's."""

    images: np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    ids: bytes
    content: str


def _noted(npy: Path) -> _Noted | None:
    """Read what images an export was made from; None where that is not known."""
    try:
        with images_path(npy).open("rb") as file, np.load(file, allow_pickle=False) as parts:
            images, ids, content = parts["images"], parts["ids"], parts["content"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if images.ndim != 2 or images.dtype != np.uint8 or images.shape[1] != SHA256_BYTES:
        return None
    return _Noted(images, ids.tobytes(), str(content))


def _note_images(npy: Path, manifest: Manifest, rows: RowSource, pipeline: Pipeline) -> None:
    """Write down which image each exported row was made from, unless it stands there already."""
    noted = _noted(npy)
    if noted is not None and noted.content == manifest.content:
        return
    keys = bytearray()
    for block in batched(rows.pairs(), _BLOCK):
        wanted = [image for _, image in block]
        keys += b"".join(compress(wanted, pipeline.store.holds(wanted)))
    images = np.frombuffer(bytes(keys), np.uint8).reshape(-1, SHA256_BYTES)
    if len(images) == manifest.rows:  # a damaged vector may have been found while they were written
        (ids,) = (bytes.fromhex(said.sha256) for name, said in manifest.files.items() if name != npy.name)
        with atomic_write(images_path(npy)) as file:
            np.savez(file, images=images, ids=np.frombuffer(ids, np.uint8), content=np.array(manifest.content))


def images_path(npy: Path) -> Path:
    """Return where it says which image each row of an exported `.npy` was made from."""
    return npy.with_name(f"{npy.stem}.images.npz")


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return file_digest(file, "sha256").digest()
