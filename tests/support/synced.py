"""Which files were fsynced, and how much of each was written by then."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def noting_fsync() -> Iterator[dict[int, int]]:
    """Yield the bytes of each file or folder at its last fsync, by its inode, which a rename keeps."""
    sizes: dict[int, int] = {}
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        status = os.fstat(descriptor)
        sizes[status.st_ino] = status.st_size
        fsync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", noted)
        yield sizes
