"""Products, images and vectors that are made up, for a store to keep."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.records import Embedded, ImageFile, Product

if TYPE_CHECKING:
    from ingest.store.local import LocalStore

DIM = 8


def key(word: object) -> bytes:
    return hashlib.sha256(str(word).encode()).digest()


def vector(word: object) -> np.ndarray:
    """Return the unit vector of a picture: another for each."""
    row = np.random.default_rng(int.from_bytes(key(word)[:8])).standard_normal(DIM)
    return (row / np.linalg.norm(row)).astype(np.float32)


def added(store: LocalStore, *words: object) -> None:
    store.add([key(word) for word in words], np.stack([vector(word) for word in words]))


def product(product_id: str = "a") -> Product:
    return Product(product_id, f"{product_id}.jpg", {}, 2)


def picture(product_id: str, word: object) -> ImageFile:
    return ImageFile(product(product_id), Path(f"{product_id}.jpg"), key(word))


def embedded(product_id: str, word: object) -> Embedded:
    return Embedded(product(product_id), key(word), vector(word))


def folders(store: LocalStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def assert_holds(store: LocalStore, *words: object) -> None:
    for word, found in zip(words, store.find([key(word) for word in words]), strict=True):
        assert found is not None, word
        np.testing.assert_array_equal(found, vector(word))
