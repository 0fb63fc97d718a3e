"""What a command works on: the data folder's own parts for a run, stand-ins for a command that changes nothing.

The stand-ins lie in a temporary folder, which goes with the command. They begin with what the data folder holds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ingest.exports.row_list import Wanted
from ingest.images.cache.cache import FOLDER, Cache
from ingest.pipeline.report import RunFolder
from ingest.runtime import lock
from ingest.runtime.remote_files import is_remote
from ingest.store import factory
from ingest.store.local import Store
from ingest.store.overlay import Layered

if TYPE_CHECKING:
    from contextlib import ExitStack

    from ingest.core.contract import Space
    from ingest.core.settings import Settings
    from ingest.store.base import Vectors


class Workspace(NamedTuple):
    """The parts that a command writes to; `kept` is the vectors that stay when it ends."""

    store: Vectors
    kept: Vectors
    wanted: Wanted
    cache: Cache
    report: RunFolder


def writing(stack: ExitStack, settings: Settings, space: Space) -> Workspace:
    """Open the data folder for a run, and hold it; raises BusyError and StorageError."""
    stack.enter_context(lock.holding(settings.data))
    if settings.store and not is_remote(settings.store, "--store"):
        stack.enter_context(lock.holding(Path(settings.store)))  # runs with a data folder each may share it
    store = factory.opened(settings, space, factory.mirror(settings, space))
    wanted = Wanted(settings.data / "embeddings")
    stack.callback(wanted.close)
    cache = stack.enter_context(Cache(settings.data / FOLDER))
    return Workspace(store, store, wanted, cache, stack.enter_context(RunFolder(settings.data / "runs")))


def reading(stack: ExitStack, settings: Settings, space: Space, runs: Path | None = None) -> Workspace:
    """Open stand-ins, and keep runs off the data folder meanwhile; nothing in it is changed.

    The tables of the report go below `runs`, or with the rest. Raises BusyError and StorageError.
    """
    stack.enter_context(lock.reading(settings.data))
    if settings.store and not is_remote(settings.store, "--store"):
        stack.enter_context(lock.reading(Path(settings.store)))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ingest-")))
    kept = factory.opened(settings, space, _linked(factory.mirror(settings, space), folder / "mirror"))
    wanted = Wanted(folder / "embeddings")
    stack.callback(wanted.close)
    cache = stack.enter_context(Cache(settings.data / FOLDER, changes=False))
    report = stack.enter_context(RunFolder(runs or folder / "runs"))
    return Workspace(Layered(kept, Store(folder / "store", space.dim)), kept, wanted, cache, report)


def _linked(mirror: Path, folder: Path) -> Path:
    """Return a folder that has what the mirror has, by links: what is read anew goes there, and nothing is copied."""
    folder.mkdir()
    for path in mirror.iterdir() if mirror.is_dir() else ():
        (folder / path.name).symlink_to(path.absolute())
    return folder
