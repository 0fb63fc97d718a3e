"""Runs the real command line in forked children: each begins with torch and pymilvus imported, as seconds matter here.

Reads a JSON line {"arguments": […], "folder": …} on stdin, answers with {"code": …} at its end.
With "kill", [phase, entry, delay], a child ends itself by SIGKILL so many seconds after it enters a phase for the
so-manieth time. With "meddle", [phase, entry, what, uri, alias], somebody else's client does that to the collection
then: a Milvus Lite file lets no other process in.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np  # noqa: F401  imported before the fork
import pymilvus  # noqa: F401
import torch
import transformers  # noqa: F401
from meddling import MEDDLING
from milvus_lite.adapter.grpc import server  # noqa: F401

from ingest.cli import main
from ingest.embedding.clip import ClipEncoder
from ingest.images.download import Downloader
from ingest.removal import Removal
from ingest.sinks import faiss
from ingest.sinks.milvus.collection import Collection
from ingest.sinks.milvus.connection import Connection
from ingest.store import arrays
from ingest.store.shards import Store

if TYPE_CHECKING:
    from collections.abc import Callable

PHASES: dict[str, list[tuple[Any, str]]] = {
    "fetching": [(Downloader, "fetch")],
    "embedding": [(ClipEncoder, "images")],
    "shard writing": [(Store, "add")],
    "upserting": [(Connection, "call")],
    "pruning": [(Removal, "ids")],
    "flushing": [(Collection, "flush")],
    "exporting": [(arrays, "write"), (faiss, "build")],
    "alias moving": [(Collection, "serve")],
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


def count_embedded() -> None:
    """Note in the file `embedded` how many pictures each call of the model has embedded."""
    images = ClipEncoder.images

    def counted(self: ClipEncoder, pixels: Any) -> Any:
        vectors = images(self, pixels)
        with Path("embedded").open("a") as file:
            file.write(f"{len(vectors)}\n")
        return vectors

    ClipEncoder.images = counted  # type: ignore[method-assign]


def run(request: dict[str, Any]) -> None:
    os.chdir(request["folder"])
    os.setsid()
    log = os.open("command.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    count_embedded()
    if request["kill"]:
        kill(*request["kill"])
    if request["meddle"]:
        phase, entry, what, *whose = request["meddle"]
        when(phase, entry, lambda: MEDDLING[what](*whose))
    main.main(request["arguments"])


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            code = 1
            try:
                run(json.loads(line))
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        answers.write(json.dumps({"code": os.waitstatus_to_exitcode(status)}) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
