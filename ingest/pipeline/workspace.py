"""What a command works on: the data folder for a run, or stand-ins for a command that changes nothing.

Stand-ins begin with what the data folder holds, write to a temporary folder, and are deleted with it at the end.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache as cache_result
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.exports.row_list import ExportRows
from ingest.images.cache.cache import FOLDER, ImageCache
from ingest.images.urls import UrlKey
from ingest.pipeline.report import RunReport
from ingest.runtime import lock
from ingest.runtime.remote_files import is_remote
from ingest.store import factory
from ingest.store.local import LocalStore
from ingest.store.overlay import OverlayStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from ingest.core.contract import Space
    from ingest.core.settings import Settings
    from ingest.store.base import EmbeddingStore


@dataclass(frozen=True, slots=True)
class Workspace:
    """What a command writes to; `kept` is the store whose vectors stay when the command ends.

    `open_trash` opens what `ingest store gc` has dropped: vectors that are needed again are found there.
    """

    store: EmbeddingStore
    kept: EmbeddingStore
    wanted: ExportRows
    cache: ImageCache
    report: RunReport
    open_trash: Callable[[], EmbeddingStore]


def open_for_writing(stack: ExitStack, settings: Settings, space: Space) -> Workspace:
    """Open the data folder for a run, and lock it; raises BusyError and StorageError."""
    stack.enter_context(lock.lock_folder(settings.data))
    if settings.store and not is_remote(settings.store, "--store"):
        stack.enter_context(lock.lock_folder(Path(settings.store)))  # runs with different data folders may share it
    store = factory.open_store(settings, space, factory.mirror_folder(settings, space))
    wanted = ExportRows(settings.data / "embeddings")
    stack.callback(wanted.close)
    cache = stack.enter_context(ImageCache(settings.data / FOLDER, url_key=UrlKey(settings.url_key)))
    report = stack.enter_context(RunReport(settings.data / "runs"))
    trash = partial(factory.open_trash, settings, space, factory.trash_mirror_folder(settings, space))
    return Workspace(store, store, wanted, cache, report, cache_result(trash))


def open_read_only(stack: ExitStack, settings: Settings, space: Space, runs: Path | None = None) -> Workspace:
    """Open stand-ins; the data folder is not changed, and no run can start in it meanwhile.

    The report's tables are written below `runs` if given. Raises BusyError and StorageError.
    """
    stack.enter_context(lock.lock_folder_shared(settings.data))
    if settings.store and not is_remote(settings.store, "--store"):
        stack.enter_context(lock.lock_folder_shared(Path(settings.store)))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ingest-")))
    kept = factory.open_store(settings, space, _linked(factory.mirror_folder(settings, space), folder / "mirror"))
    wanted = ExportRows(folder / "embeddings")
    stack.callback(wanted.close)
    cache = stack.enter_context(ImageCache(settings.data / FOLDER, changes=False, url_key=UrlKey(settings.url_key)))
    report = stack.enter_context(RunReport(runs or folder / "runs"))
    trash = partial(factory.open_trash, settings, space, folder / "trash")
    above = LocalStore(folder / "store", space.dim)
    return Workspace(OverlayStore(kept, above), kept, wanted, cache, report, cache_result(trash))


def _linked(mirror: Path, folder: Path) -> Path:
    """Return a folder with links to the mirror's content; nothing is copied, and what is fetched is written there."""
    folder.mkdir()
    for path in mirror.iterdir() if mirror.is_dir() else ():
        (folder / path.name).symlink_to(path.absolute())
    return folder
