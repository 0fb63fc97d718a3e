"""Opens the store that the settings name: a folder on a disk, or a URL of object storage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ingest.runtime.remote_files import is_remote, strip_slash
from ingest.store.bucket import Bucket
from ingest.store.local import LocalStore
from ingest.store.object_storage import ObjectStorageStore

if TYPE_CHECKING:
    from ingest.core.contract import Space
    from ingest.core.settings import Settings
    from ingest.store.base import EmbeddingStore


def store_location(settings: Settings, fingerprint: str) -> str:
    """Return the folder or URL of a space's vectors."""
    root = settings.store_place
    if is_remote(root, "--store"):
        return f"{strip_slash(root, '--store')}/{fingerprint}"
    return str(Path(root) / fingerprint)


def mirror_folder(settings: Settings, space: Space) -> Path:
    """Return the folder that mirrors a space's vectors from object storage."""
    return _mirror(settings, space.fingerprint)


def trash_mirror_folder(settings: Settings, space: Space) -> Path:
    """Return the folder that mirrors what was dropped of a space."""
    return _mirror(settings, f"trash/{space.fingerprint}")


def open_store(settings: Settings, space: Space, mirror: Path) -> EmbeddingStore:
    """Open the vectors of a space; `mirror` is used if they are on object storage.

    Raises ConfigError or StorageError if their folder or URL cannot be used.
    """
    return _open(store_location(settings, space.fingerprint), space.dim, mirror)


def open_trash(settings: Settings, space: Space, mirror: Path) -> EmbeddingStore:
    """Open what `ingest store gc` has dropped of a space: a store of its own, beside all spaces, as `open_store`."""
    return _open(store_location(settings, f"trash/{space.fingerprint}"), space.dim, mirror)


def open_store_of(settings: Settings, fingerprint: str, dim: int) -> EmbeddingStore:
    """Open the vectors of a space that is known by its fingerprint alone, as `open_store`."""
    return _open(store_location(settings, fingerprint), dim, _mirror(settings, fingerprint))


def open_trash_of(settings: Settings, fingerprint: str, dim: int) -> EmbeddingStore:
    """Open what was dropped of such a space, as `open_trash`."""
    return _open(store_location(settings, f"trash/{fingerprint}"), dim, _mirror(settings, f"trash/{fingerprint}"))


def _mirror(settings: Settings, name: str) -> Path:
    return settings.data / "embeddings" / "mirror" / name


def _open(location: str, dim: int, mirror: Path) -> EmbeddingStore:
    if is_remote(location, "--store"):
        return ObjectStorageStore(Bucket(location), dim, mirror)
    return LocalStore(Path(location), dim)
