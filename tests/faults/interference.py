"""What disturbs a run from within its process: it is killed in a phase, or somebody else's client meddles there.

Called in a forked child before the command begins. A Milvus Lite file lets no other process in, so whoever meddles with
the collection must do it from here.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faults.meddling import MEDDLING
from ingest.embedding.clip import ClipEncoder
from ingest.exports import faiss_index, npy_files
from ingest.images.http.downloader import Downloader
from ingest.milvus import bulk_import, import_jobs, pending_imports
from ingest.milvus.collection import Collection
from ingest.milvus.connection import Connection
from ingest.store import shard_writer
from ingest.store.local import LocalStore
from ingest.store.object_storage import ObjectStorageStore
from ingest.sync.prune import PrunePolicy

if TYPE_CHECKING:
    from collections.abc import Callable

PHASES: dict[str, list[tuple[Any, str]]] = {
    "fetching": [(Downloader, "fetch")],
    "embedding": [(ClipEncoder, "images")],
    "shard writing": [(LocalStore, "add")],
    "upserting": [(Connection, "call")],
    "pruning": [(PrunePolicy, "ids")],
    "flushing": [(Collection, "flush")],
    "exporting": [(npy_files, "write"), (faiss_index, "build")],
    "alias moving": [(Collection, "switch_alias")],
    "import recording": [(pending_imports, "record")],
    "import writing": [(bulk_import, "_write")],
    "import requesting": [(import_jobs, "_send")],
    "import watching": [(pending_imports, "wait_for_job")],
}
"""What is entered in each phase, in the order in which a run comes to them; imports last."""


def when(phase: str, entry: int, act: Callable[[], object]) -> None:
    """Have `act` called as this process enters that phase for the so-manieth time."""
    entered = 0
    lock = threading.Lock()

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def enter(*args: Any, **kwargs: Any) -> Any:
            nonlocal entered
            with lock:
                counts = phase != "upserting" or _is_upsert(args)
                entered += counts
                now = counts and entered == entry
            if now:
                act()
            return function(*args, **kwargs)

        return enter

    for place, name in PHASES[phase]:
        setattr(place, name, watched(getattr(place, name)))


def _is_upsert(args: tuple[Any, ...]) -> bool:
    return any(isinstance(arg, str) and arg.startswith("upsert ") for arg in args)


def kill(phase: str, entry: int, delay: float) -> None:
    """Have this process killed when it is in that phase."""
    if delay:
        when(phase, entry, threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start)
    else:
        when(phase, entry, lambda: os.kill(os.getpid(), signal.SIGKILL))


def kill_at_change(folder: str, number: int) -> None:
    """Have this process killed before its so-manieth change of a file or folder in `folder`, 0 for never.

    Python tells of a change before it makes it. Each is noted in the file `changes`.
    """
    noted = os.open("changes", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    count = 0

    def hear(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        if event in _CHANGES and (path := _path(event, args)).startswith(folder):
            count += 1
            os.write(noted, f"{event} {path}\n".encode())
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)


_CHANGES = {"open": 3, "os.mkdir": 2, "os.rename": 2, "os.remove": 1, "os.rmdir": 1}
"""Events of Python's audit that change files; at which argument the folder is that a path is relative to."""


def _path(event: str, args: tuple[Any, ...]) -> str:
    """Return the path that is changed, "" if it is only read."""
    path, place = args[0], args[_CHANGES[event]] if event != "open" else -1
    if event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        return ""
    if isinstance(path, int):
        return ""
    name = os.fsdecode(path)
    return name if place == -1 else os.path.join(os.readlink(f"/proc/self/fd/{place}"), name)  # noqa: PTH115, PTH118


def store_small_shards(rows: int) -> None:
    """Have a run write shards of so few vectors, on a disk and into a bucket, as it would write large ones."""
    ObjectStorageStore.min_shard_rows = shard_writer.ROWS = rows


def import_soon(file_bytes: int) -> None:
    """Have a run write small import files, and wait shortly for a job that may never have been requested."""
    bulk_import.FILE_BYTES = file_bytes
    pending_imports._UNANSWERED_S = 4.0


def meddle(phase: str, entry: int, what: str, uri: str, alias: str) -> None:
    """Have somebody else do `what` when this process is in that phase."""
    when(phase, entry, lambda: MEDDLING[what](uri, alias))


def count_embedded() -> None:
    """Note in the file `embedded` how many pictures each call of the model has embedded."""
    images = ClipEncoder.images

    def counted(self: ClipEncoder, pixels: Any) -> Any:
        vectors = images(self, pixels)
        with Path("embedded").open("a") as file:
            file.write(f"{len(vectors)}\n")
        return vectors

    ClipEncoder.images = counted  # type: ignore[method-assign]
