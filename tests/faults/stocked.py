"""A shop whose embedding store holds vectors in use and vectors of products that left, on a disk or in a bucket."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import time
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from support.checkpoints import DIM
from support.shop import BATCH, Ended, Shop, spied

from ingest.runtime.parallel import batched
from ingest.store import concurrent_shards
from ingest.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ingest.store.base import EmbeddingStore
    from ingest.store.bucket import Bucket

PRODUCTS, EVERY = 60, 6
"""Of all products, every sixth left: no more than a run prunes without being asked."""
SHARD = BATCH
"""Vectors of a shard."""
PUT_TOGETHER = 3
"""Shards on a disk that make one in a bucket."""
DAY_S = 86_400.0

Vectors = dict[bytes, bytes]
"""The bytes of each image's vector, by the image's SHA-256."""


class StockedShop(Shop):
    """A shop of products with an image of noise each."""

    def stock_numbers(self, numbers: Iterable[int]) -> None:
        """Write the catalog of these products, and draw their images."""
        self.images.mkdir(exist_ok=True)
        numbers = list(numbers)
        for number in numbers:
            if not self._image(number).exists():
                pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(self._image(number))
        self.stock(
            {"product_id": f"P{n}", "image": f"images/{n}.png", "title": f"Product {n}", "price": f"{n}.5"}
            for n in numbers
        )

    def keys(self, numbers: Iterable[int]) -> list[bytes]:
        """Return the SHA-256 of these products' images."""
        return [hashlib.sha256(self._image(number).read_bytes()).digest() for number in numbers]

    def elsewhere(self, folder: Path) -> StockedShop:
        """Return the same shop elsewhere, with all that its runs left."""
        shutil.copytree(self.folder, folder)
        return StockedShop(folder, self.model)

    def done(self, *arguments: str | Path) -> Ended:
        """Run a command, which must end well."""
        ended = self.ingest(*arguments)
        assert ended.code == 0, ended.err
        return ended

    def numbers(self) -> list[int]:
        """Return the numbers of the products in the catalog."""
        lines = (self.folder / "products.csv").read_text(encoding="utf-8").splitlines()[1:]
        return [int(line.partition(",")[0].removeprefix("P")) for line in lines]

    @property
    def store(self) -> Path:
        return self.data / "embeddings" / "store"

    @property
    def fingerprint(self) -> str:
        """The name of the only model's vectors."""
        (space,) = {path.parent.parent.name for path in self.store.glob("*/*/keys.npy")}  # the trash is one deeper
        return space

    def vectors(self) -> Vectors:
        """Return all vectors of the store on this shop's disk."""
        return vectors_in(LocalStore(self.store / self.fingerprint, DIM))

    def _image(self, number: int) -> Path:
        return self.images / f"{number}.png"


def stocked(folder: Path, model: Path) -> StockedShop:
    """Return a shop that runs have filled, of whose products some have left; its shards are older than a week."""
    shop = StockedShop(folder, model)
    shop.stock_numbers(range(PRODUCTS))
    shop.run(**spied(shop.folder / "embedded"))
    shop.stock_numbers(number for number in range(PRODUCTS) if number % EVERY)
    shop.run("--prune", "--max-prune", "0.2")
    age(shop.store)
    return shop


def age(store: Path) -> None:
    """Make all shards on a disk older than a week."""
    for path in store.rglob("keys.npy"):
        os.utime(path, (time.time() - 8 * DAY_S,) * 2)


def put_shards(folder: Path, bucket: Bucket, below: str) -> None:
    """Put the vectors of a store on a disk into a bucket's folder, as a run puts them: in fewer shards, each larger."""
    for shards in batched(sorted(path for path in folder.iterdir() if path.name.isdecimal()), PUT_TOGETHER):
        keys, vectors = (
            np.concatenate([np.load(shard / f"{kind}.npy") for shard in shards]) for kind in ("keys", "embeddings")
        )
        concurrent_shards.put_objects(bucket, f"{below}/{concurrent_shards.name(folder.name, keys)}", keys, vectors)


def vectors_in(store: EmbeddingStore) -> Vectors:
    """Return every vector of a store, each of which must be sound."""
    keys = [key.tobytes() for key in store.share_index().keys.keys]
    sound, vectors = store.take(keys)
    assert sound.all()
    return {key: vector.tobytes() for key, vector in zip(keys, vectors, strict=True)}


def vectors_below(bucket: Bucket, below: str) -> Vectors:
    """Return every vector of the whole shards in a bucket's folder, as the server has them; copies must be equal."""
    found = bucket.list(below)
    vectors: Vectors = {}
    for name in {name.partition("/")[0] for name in found} - {name.partition("/")[0] for name in halves(found)}:
        keys, rows = (
            np.load(io.BytesIO(bucket.get(f"{below}/{path}", found[path].size)))
            for path in (f"{name}/keys.npy", f"{name}/embeddings.npy")
        )
        for key, row in zip(keys, rows, strict=True):
            assert vectors.setdefault(key.tobytes(), row.tobytes()) == row.tobytes(), "two copies differ"
    return vectors


def halves(names: Iterable[str]) -> Sequence[str]:
    """Return which of a bucket's objects belong to a shard that lacks its other object."""
    found = set(names)
    pairs = {"keys.npy": "embeddings.npy", "embeddings.npy": "keys.npy"}
    return sorted(name for name in found if f"{name.rpartition('/')[0]}/{pairs[name.rpartition('/')[2]]}" not in found)
