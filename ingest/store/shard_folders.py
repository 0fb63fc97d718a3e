"""The shards in a space's folder on a disk: listed, written, removed."""

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
"""Begins the names of shards that many processes write; a single writer numbers its shards."""


def numbers(folder: Path) -> list[int]:
    """List the numbers of numbered shards; none if there is no folder."""
    return [int(name) for name in _entries(folder) if name.isdecimal()]


def names(folder: Path) -> list[str]:
    """List the named shards; none if there is no folder."""
    return sorted(name for name in _entries(folder) if name.startswith(PREFIX))


def folder_name(number: int) -> str:
    """Return the folder name of a numbered shard."""
    return f"{number:08d}"


def remove(shard: Path) -> None:
    """Remove a shard, renaming it first: a kill leaves a folder that is swept, never half a shard."""
    temporary = shard.with_name(f".{shard.name}.tmp")
    with suppress(OSError):  # a shard that stays does no harm
        shard.rename(temporary)
        shutil.rmtree(temporary)


def sweep(folder: Path) -> None:
    """Remove shards that killed processes had half built or half removed."""
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
            f"{folder}: cannot be read ({reason(error)}); fix that and run the same command again"
        ) from error
