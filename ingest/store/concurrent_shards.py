"""Shards that many processes write at once, to a folder or to object storage.

A shard's name is a digest of its keys in their order. So a shard that is written twice is the same shard, and two
writers never use one name for different shards.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.runtime.atomic_files import storage_errors, sync_folder, write_npy
from ingest.runtime.npy import header
from ingest.runtime.remote_files import is_remote
from ingest.store import shard_folders
from ingest.store.base import KEY_BYTES
from ingest.store.bucket import Bucket
from ingest.store.shard_folders import PREFIX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ingest.store.bucket import StoredObject

_FILES = ("embeddings.npy", "keys.npy")
_ABANDONED_S = 86_400.0
"""A writer that still lives puts the second object long before that, whatever its clock says."""
_DAMAGED = (ValueError, EOFError, SyntaxError)


def name(fingerprint: str, keys: NDArray[np.uint8]) -> str:
    """Return the name of a space's shard with these keys, (n, 32) uint8, in this order."""
    return PREFIX + hashlib.sha256(fingerprint.encode() + b"\n" + keys.tobytes()).hexdigest()[:32]


def put(place: str, keys: NDArray[np.uint8], vectors: NDArray[np.float32]) -> str:
    """Write a shard of `vectors`, (n, dim) float32 unit rows, to the folder or URL of their space; return its name.

    Any number of processes may write at once. Raises StorageError, and then nothing is half-written.
    """
    shard = name(place.rstrip("/").rpartition("/")[2], keys)
    if is_remote(place, "--store"):
        put_objects(Bucket(place), shard, keys, vectors)
    else:
        _put_folder(Path(place), shard, keys, vectors)
    return shard


def put_objects(bucket: Bucket, shard: str, keys: NDArray[np.uint8], vectors: NDArray[np.float32]) -> None:
    """Put a shard's two objects; `keys.npy` comes last and is the commit."""
    for file, part, dtype in (("embeddings.npy", vectors, "<f4"), ("keys.npy", keys, "|u1")):
        content = io.BytesIO()
        write_npy(content, part.shape, dtype, [part])
        bucket.put(f"{shard}/{file}", content.getvalue())


def parse_keys(content: bytes, fingerprint: str, shard: str) -> NDArray[np.uint8] | None:
    """Return the keys, (n, 32) uint8, in a `keys.npy`; None unless the shard's name is made from them."""
    try:
        shape, dtype, offset = header(io.BytesIO(content), len(content))
    except _DAMAGED:
        return None
    if len(shape) != 2 or shape[1] != KEY_BYTES or dtype != np.uint8:
        return None
    keys = np.frombuffer(content, np.uint8, shape[0] * KEY_BYTES, offset).reshape(shape[0], KEY_BYTES)
    return keys if name(fingerprint, keys) == shard else None


def parse_vectors(content: bytes, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Return the vectors in an `embeddings.npy`; None unless they have this shape and are float32."""
    try:
        found, dtype, offset = header(io.BytesIO(content), len(content))
    except _DAMAGED:
        return None
    if found != shape or dtype != np.float32:
        return None
    return np.frombuffer(content, np.float32, shape[0] * shape[1], offset).reshape(shape)


def list_whole(bucket: Bucket) -> dict[str, tuple[StoredObject, StoredObject]]:
    """Return the two objects of every shard that is whole, by its name, `keys.npy` first."""
    listing = bucket.list()
    return {
        name.removesuffix("/keys.npy"): (keys, listing[embeddings])
        for name, keys in listing.items()
        if name.endswith("/keys.npy") and (embeddings := name.replace("keys.npy", "embeddings.npy")) in listing
    }


def remove_halves(bucket: Bucket) -> None:
    """Remove objects that have been alone in their shard for a day: a killed command has put or left only this one."""
    shards: dict[str, dict[str, StoredObject]] = {}
    for path, about in bucket.list().items():
        shard, _, file = path.rpartition("/")
        shards.setdefault(shard, {})[file] = about
    newest = time.time() - _ABANDONED_S
    for shard, files in shards.items():
        (file, about), *others = files.items()
        is_half = file in _FILES and shard.startswith(PREFIX) and not others
        if is_half and about.modified <= newest and bucket.list(shard) == files:  # somebody may have put it again
            bucket.remove(f"{shard}/{file}")


def _put_folder(folder: Path, shard: str, keys: NDArray[np.uint8], vectors: NDArray[np.float32]) -> None:
    """Build a shard under a temporary name and rename it; an existing shard of its name has the same keys."""
    temporary = folder / f".{shard}.{uuid.uuid4().hex}.tmp"
    with storage_errors(folder):
        if (folder / shard).is_dir():
            return
        try:
            temporary.mkdir(parents=True)
            shard_folders.save(temporary / "embeddings.npy", vectors.shape, "<f4", [vectors])
            shard_folders.save(temporary / "keys.npy", keys.shape, "|u1", [keys])
            sync_folder(temporary)
            try:
                temporary.rename(folder / shard)
            except OSError:
                if not (folder / shard).is_dir():
                    raise
            sync_folder(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
