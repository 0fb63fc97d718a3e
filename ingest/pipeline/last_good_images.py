"""The last good image of each product, as its row in the collection or a file beside the last export says.

That file is `<name>.images.npz` with `images`, (n, 32) uint8, the SHA-256 of each exported row's image; `ids`, (32,)
uint8, the SHA-256 of the file of ids that it belongs to; and `content`, the manifest's.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from functools import cached_property
from hashlib import file_digest
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from ingest.exports import npy_files
from ingest.runtime.atomic_files import atomic_write
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.parallel import batched
from ingest.sync.inventory import SHA256_BYTES, Inventory
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ingest.exports.manifest import Manifest
    from ingest.exports.npy_files import RowSource
    from ingest.store.base import EmbeddingStore

_BLOCK = 4096  # products looked up at a time
_NO_DIGEST = "0" * 32


class LastGoodImages:
    """The last good images of products, from their rows in the collection or from the last export."""

    def __init__(self, npy: Path, ids: Path, collection: Inventory | None) -> None:
        self._npy = npy
        self._ids = ids
        self._collection = collection or Inventory()

    def find(self, product_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the 32-byte keys of the images that are known, by product id."""
        found = _images(self._collection, product_ids)
        rest = [product_id for product_id in product_ids if product_id not in found]
        return found | _images(self._exported, rest) if rest else found

    @cached_property
    def _exported(self) -> Inventory:
        """The rows of the last export; none if its files do not belong together."""
        rows, ids = Inventory(), self._ids
        source = _read_images(self._npy)
        if source is None or not ids.is_file() or source.ids != _sha256(ids):
            return rows
        names = npy_files.read_ids(ids)
        if len(names) == len(source.images):
            rows.add(names, [_NO_DIGEST] * len(names), [image.tobytes().hex() for image in source.images])
        return rows


def _images(rows: Inventory, product_ids: Sequence[str]) -> dict[str, bytes]:
    places = rows.find(product_ids).tolist()
    return {
        product_id: rows.sha256(place)
        for product_id, place in zip(product_ids, places, strict=True)
        if place != ABSENT and rows.states[place] != RowState.FOREIGN
    }


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


def exported_images(npy: Path) -> set[bytes]:
    """Return the 32-byte keys of the images that an export was made from; none if that is not known."""
    source = _read_images(npy)
    return set() if source is None else {image.tobytes() for image in source.images}


def write_images(npy: Path, manifest: Manifest, rows: RowSource, store: EmbeddingStore) -> None:
    """Write which image each exported row was made from, unless the file says so already."""
    source = _read_images(npy)
    if source is not None and source.content == manifest.content:
        return
    keys = bytearray()
    for block in batched(rows.pairs(), _BLOCK):
        wanted = [image for _, image in block]
        keys += b"".join(compress(wanted, store.holds(wanted)))
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
