"""What disturbs a run from within its process: it is killed in a phase, or somebody else's client meddles there.

Called in a forked child before the command begins. A Milvus Lite file lets no other process in, so whoever meddles with
the collection must do it from here.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faults.meddling import MEDDLING
from ingest.embedding.clip import ClipEncoder
from ingest.exports import faiss_index, npy_files
from ingest.images.http.downloader import Downloader
from ingest.milvus.collection import Collection
from ingest.milvus.connection import Connection
from ingest.store.local import LocalStore
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
}
"""What is entered in each phase, in the order in which a run comes to them."""


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
