"""Images saved as the pixels a model expects: a machine without torch prepares them, one with torch embeds them.

One `<sha256>.npy` per image, (height, width, 3) uint8 RGB, under `data/preprocessed/<geometry>/<first two digits>/`;
images decoded with `--exact` under `<geometry>-exact`, because their pixels differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest.core.records import Crop, Decoded, ImageFile
from ingest.runtime.atomic_files import atomic_write_unswept, storage_errors, sweep, write_npy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.core.records import Embedded, Skipped
    from ingest.embedding.preprocess import Preprocessing


class PixelCache:
    """The saved pixels for one geometry; those decoded at full size (`exact`) are kept apart from the others."""

    def __init__(self, folder: Path, preprocessing: Preprocessing, *, exact: bool = False) -> None:
        fast, whole = folder / preprocessing.geometry, folder / f"{preprocessing.geometry}-exact"
        self.folder, self._other = (whole, fast) if exact else (fast, whole)
        self._shape = (preprocessing.height, preprocessing.width, 3)
        self._swept: set[Path] = set()
        self._is_empty = not any(one.is_dir() for one in (fast, whole))  # of nearly every run

    def get(self, sha256: bytes) -> NDArray[np.uint8] | None:
        """Return an image's saved pixels, or None if they are missing or damaged."""
        try:
            pixels = np.array(np.lib.format.open_memmap(self._path(sha256), mode="r"))
        except (OSError, ValueError, EOFError):
            return None
        return pixels if pixels.shape == self._shape and pixels.dtype == np.uint8 else None

    def save(self, records: Iterable[Decoded | Embedded | Skipped]) -> Iterator[Decoded | Embedded | Skipped]:
        """Save the pixels of each `Decoded` that is not saved yet, and pass every record on."""
        for record in records:
            if isinstance(record, Decoded) and not self._path(record.sha256).exists():
                assert not isinstance(record.pixels, Crop), "resized on the host: there is no device"
                self._write(self._path(record.sha256), record.pixels)
            yield record

    def remove(self, sha256: bytes) -> None:
        """Delete an image's pixels, exact or not: its vector is stored."""
        if self._is_empty:
            return
        for folder in (self.folder, self._other):
            _path(folder, sha256).unlink(missing_ok=True)

    def holds(self, sha256: bytes) -> bool:
        """Whether an image's pixels are saved, perhaps damaged."""
        return not self._is_empty and self._path(sha256).exists()

    def load(self, records: Iterable[ImageFile | Embedded | Skipped]) -> Iterator[ImageFile | Embedded | Skipped]:
        """Give images their saved pixels as `decoded`, and pass the other records on."""
        for record in records:
            if self._is_empty or not isinstance(record, ImageFile) or record.decoded is not None:
                yield record
            elif (pixels := self.get(record.sha256)) is not None:
                yield record._replace(decoded=Decoded(record.product, record.sha256, pixels))
            else:
                yield record

    def _write(self, path: Path, pixels: NDArray[np.uint8]) -> None:
        self._is_empty = False
        if path.parent not in self._swept:
            with storage_errors(path.parent):
                sweep(path.parent)
            self._swept.add(path.parent)
        with atomic_write_unswept(path) as file:
            write_npy(file, pixels.shape, "|u1", [np.ascontiguousarray(pixels)])

    def _path(self, sha256: bytes) -> Path:
        return _path(self.folder, sha256)


def _path(folder: Path, sha256: bytes) -> Path:
    name = sha256.hex()
    return folder / name[:2] / f"{name}.npy"
