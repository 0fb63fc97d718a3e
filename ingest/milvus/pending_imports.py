"""Imports under way, noted in the collection itself, so that no row goes in twice after a kill.

What was asked of the server is known to the server alone: a run that is killed leaves jobs behind, and the next one may
be on another machine. So a property of the collection says, before a job is asked for, which files it is to take and
some ids of each, and then its number. Until the next run knows how such a job ended it writes nothing.
"""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ingest.core.contract import IMPORTING
from ingest.core.errors import InterruptedRunError, MilvusError
from ingest.milvus import import_jobs, properties
from ingest.milvus.connection import CALL_TIMEOUT_S
from ingest.milvus.import_jobs import JobState

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ingest.milvus.collection import Collection

log = logging.getLogger(__name__)

_POLL_S = 0.5
_TOLD_WITHIN_S = 600.0
"""How long a job may be in a state that this version does not know before a run gives up on it."""
_HEARD_WITHIN_S = 30.0
"""How long a request whose answer nobody has seen may take to become a job."""
_SEEN_WITHIN_S = 120.0
_OLD_S = 3600.0
"""After this time a row that was imported and is missing has been deleted by somebody, and does not still come."""
_SAMPLE = 8


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file to import: its name, digests of some of its rows, by id, and the number of its job, 0 if not known."""

    name: str
    rows: dict[str, str]
    job: int = 0


def pending_file(name: str, digests: Mapping[str, str]) -> PendingFile:
    """Return a file to import, whose rows have these digests by id; some of them are remembered, first and last too."""
    ids = list(digests)
    step = max(1, (len(ids) - 1) // (_SAMPLE - 1))
    return PendingFile(name, {one: digests[one] for one in (*ids[::step][:_SAMPLE], ids[-1])})


def remember(collection: Collection, files: Sequence[PendingFile]) -> None:
    """Note that these files are being imported; none any more if there are none."""
    noted = {"asked": time.time(), "files": [asdict(one) for one in files]} if files else None
    properties.set_properties(collection.connection, collection.name, {IMPORTING: json.dumps(noted) if noted else ""})


def settle(collection: Collection, folder: Path | None, stop: threading.Event) -> None:
    """Wait for imports that a run before this one left behind, until their rows can be read.

    Raises MilvusError if what becomes of one cannot be told: its rows would go in twice.
    """
    if collection.connection.is_lite:
        return
    asked, files = _remembered(collection)
    if not files:
        # Jobs of an older ingest, or of somebody else.
        _wait_for_all(collection, stop, unknown=False)
        return
    log.warning("a run before this one left %d files to be imported into %s", len(files), collection.name)
    for number in sorted({one.job for one in files if one.job}):
        if end(collection, number, stop).standing is not JobState.COMPLETED:
            files = [one for one in files if one.job != number]
    awaited = {one: digest for file_ in files if file_.job for one, digest in file_.rows.items()}
    if missing := _missing(collection, awaited, _SEEN_WITHIN_S, stop):
        if time.time() - asked < _OLD_S:
            raise MilvusError(
                f"Milvus at {collection.connection.shown}: an import into {collection.name} has ended and its rows are "
                f"not found yet ({missing[0]}); run again in a few minutes"
            )
        log.warning("%s lacks rows that were imported (%s); they are written again", collection.name, missing[0])
    if unheard := {one: digest for file_ in files if not file_.job for one, digest in file_.rows.items()}:
        _await_unanswered(collection, unheard, stop)
    forget(collection, [one.name for one in _remembered(collection)[1]], folder)


def forget(collection: Collection, names: Sequence[str], folder: Path | None) -> None:
    """Remove files that were imported, or never will be, and note that no import is under way."""
    for name in names if folder else ():
        with suppress(OSError):
            (folder / name).unlink()  # type: ignore[operator]
    remember(collection, [])


def end(collection: Collection, number: int, stop: threading.Event) -> import_jobs.ImportJob:
    """Wait for a job's end and return how it ended; raises MilvusError if that cannot be told."""
    untold = time.monotonic()
    while True:
        found = import_jobs.job(collection, number)
        if found.standing not in (JobState.UNFINISHED, JobState.UNKNOWN):
            return found
        if found.standing is JobState.UNFINISHED:
            untold = time.monotonic()
        elif time.monotonic() - untold > _TOLD_WITHIN_S:
            raise MilvusError(
                f"Milvus at {collection.connection.shown}: import job {number} is in a state that this ingest does not "
                f"know ({found.said}); run again when the server has ended it"
            )
        _pause(stop)


def refresh(collection: Collection) -> None:
    """Have the server load what was imported into a collection that is loaded already."""
    connection = collection.connection
    connection.call("load what was imported", connection.client.refresh_load, collection.name, timeout=CALL_TIMEOUT_S)


def _missing(collection: Collection, rows: Mapping[str, str], within_s: float, stop: threading.Event) -> list[str]:
    """Wait until rows with these digests, by id, can be read; return the ids of those that cannot in time."""
    if not rows:
        return []
    refresh(collection)
    ends = time.monotonic() + within_s
    while missing := absent(collection, rows):
        if time.monotonic() > ends:
            return missing
        _pause(stop)
    return []


def absent(collection: Collection, rows: Mapping[str, str]) -> list[str]:
    """Return the ids of which there is no row with that digest."""
    found = collection.digests(list(rows))
    return [one for one, digest in rows.items() if found.get(one) != digest]


def _await_unanswered(collection: Collection, rows: Mapping[str, str], stop: threading.Event) -> None:
    """Wait until rows that were asked to be imported, nobody knows by which job, are there, or until no job is left."""
    if not _wait_for_all(collection, stop, unknown=True):
        refresh(collection)
    ends = time.monotonic() + _HEARD_WITHIN_S
    while absent(collection, rows) and time.monotonic() < ends:
        if _wait_for_all(collection, stop, unknown=True):
            ends = time.monotonic() + _HEARD_WITHIN_S
        _pause(stop)


def _wait_for_all(collection: Collection, stop: threading.Event, *, unknown: bool) -> bool:
    """Wait until no job of the collection is under way; return whether one was."""
    began, waited = time.monotonic(), False
    while count := import_jobs.count_unfinished(collection, unknown=unknown):
        if not waited:
            log.warning("waiting for %d import jobs of a run before this one", count)
        waited = True
        if not import_jobs.count_unfinished(collection, unknown=False) and time.monotonic() - began > _TOLD_WITHIN_S:
            raise MilvusError(
                f"Milvus at {collection.connection.shown}: import jobs into {collection.name} are in a state that this "
                "ingest does not know; run again when the server has ended them"
            )
        _pause(stop)
    if waited:
        refresh(collection)
    return waited


def _remembered(collection: Collection) -> tuple[float, list[PendingFile]]:
    """Return when the imports under way were asked for, in seconds since 1970, and their files."""
    carried = properties.get(collection.connection, collection.name).get(IMPORTING, "")
    noted: dict[str, Any] = json.loads(carried or "{}")
    return float(noted.get("asked", 0)), [PendingFile(**one) for one in noted.get("files", [])]


def _pause(stop: threading.Event) -> None:
    if stop.wait(_POLL_S):
        raise InterruptedRunError("interrupted while the server imports; run the same command again to go on")
