"""Shards that many processes write at once, to a folder or to object storage: named by what is in them.

The name says which keys a shard has, in their order, so one that is written twice is the same shard, and no two
writers can want the same name for different ones.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.runtime.atomic_files import storage_errors, sync_folder, write_npy
from ingest.runtime.remote_files import is_remote
from ingest.store import shard_folders
from ingest.store.bucket import Bucket
from ingest.store.shard_folders import PREFIX

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def name(fingerprint: str, keys: NDArray[np.uint8]) -> str:
    """Return the name of the shard with these keys, (n, 32) uint8, in this order, of this space."""
    return PREFIX + hashlib.sha256(fingerprint.encode() + b"\n" + keys.tobytes()).hexdigest()[:32]


def put(place: str, keys: NDArray[np.uint8], vectors: NDArray[np.float32]) -> str:
    """Write a shard of `vectors`, (n, dim) float32 unit rows, to the folder or URL of their space; return its name.

    Any number of processes may write at once. Raises StorageError; nothing is half-written then.
    """
    called = name(place.rstrip("/").rpartition("/")[2], keys)
    if is_remote(place, "--store"):
        put_objects(Bucket(place), called, keys, vectors)
    else:
        _put_folder(Path(place), called, keys, vectors)
    return called


def put_objects(bucket: Bucket, called: str, keys: NDArray[np.uint8], vectors: NDArray[np.float32]) -> None:
    """Put a shard's two objects; `keys.npy` is the last and the commit."""
    for file, part, dtype in (("embeddings.npy", vectors, "<f4"), ("keys.npy", keys, "|u1")):
        content = io.BytesIO()
        write_npy(content, part.shape, dtype, [part])
        bucket.put(f"{called}/{file}", content.getvalue())


def _put_folder(folder: Path, called: str, keys: NDArray[np.uint8], vectors: NDArray[np.float32]) -> None:
    """Build a shard aside and rename it; one of its name that is there has the same keys, and stays."""
    aside = folder / f".{called}.{uuid.uuid4().hex}.tmp"
    with storage_errors(folder):
        if (folder / called).is_dir():
            return
        try:
            aside.mkdir(parents=True)
            shard_folders.save(aside / "embeddings.npy", vectors.shape, "<f4", [vectors])
            shard_folders.save(aside / "keys.npy", keys.shape, "|u1", [keys])
            sync_folder(aside)
            try:
                aside.rename(folder / called)
            except OSError:
                if not (folder / called).is_dir():
                    raise
            sync_folder(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
