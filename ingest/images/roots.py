"""The folders that local images must be in: the catalog's own, that of --images-root, and that of unpacked images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.catalog.files import folder_of
from ingest.catalog.unpacked_images import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest.core.settings import Settings


class ImageRoots:
    """The allowed folders. Relative paths of a catalog start from the first; images are `unpacked` into the last.

    That one need not exist yet. `has_own` is whether there is any other, which a catalog behind a URL may lack.
    """

    def __init__(self, folders: Iterable[Path], unpacked: Path | None = None) -> None:
        own = [folder.absolute() for folder in folders]
        self.has_own = bool(own)
        self.folders = own if unpacked is None else [*own, unpacked.absolute()]
        self._real = [Path(os.path.realpath(folder)) for folder in self.folders]

    def contain(self, path: Path | str) -> bool:
        """Whether a path is inside of the folders once `..` and links are resolved."""
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(folder) for folder in self._real)


def image_roots(settings: Settings) -> ImageRoots:
    """Return the folders that the settings allow; a catalog behind a URL has none but that of unpacked images."""
    allowed = (folder_of(settings.catalog), settings.images_root)
    return ImageRoots((folder for folder in allowed if folder), settings.data / FOLDER)
