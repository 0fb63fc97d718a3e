"""A space's folder on a disk: which shards are in it, how one gets there, and how one goes."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from ingest.core.errors import StorageError
from ingest.runtime.atomic_files import reason, write_npy

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

PREFIX = "block-"
"""What the names of shards begin with that many processes write; one writer alone gives numbers."""


def numbers(folder: Path) -> list[int]:
    """List the shards that have a number; none where there is no folder."""
    return [int(name) for name in _entries(folder) if name.isdecimal()]


def names(folder: Path) -> list[str]:
    """List the shards that have a name; none where there is no folder."""
    return sorted(name for name in _entries(folder) if name.startswith(PREFIX))


def remove(shard: Path) -> None:
    """Remove a shard by one rename first: what a kill leaves is swept, and never half a shard."""
    aside = shard.with_name(f".{shard.name}.tmp")
    with suppress(OSError):  # a shard that stays does no harm
        shard.rename(aside)
        shutil.rmtree(aside)


def sweep(folder: Path) -> None:
    """Remove what killed writers left half built."""
    for entry in folder.glob(".*.tmp"):
        shutil.rmtree(entry, ignore_errors=True)


def save(path: Path, shape: tuple[int, ...], dtype: str, parts: Iterable[NDArray[np.generic]]) -> None:
    """Write a `.npy` that survives a power cut."""
    with path.open("wb") as file:
        write_npy(file, shape, dtype, parts)
        file.flush()
        os.fsync(file.fileno())


def _entries(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be read ({reason(error)}); put that right and run the same command again"
        ) from error
