"""Imports under way, recorded in the collection itself, so that no row is imported twice after a kill.

A run that is killed leaves import jobs on the server, and the next run may be on another machine. Therefore a property
of the collection names the files of each job, with some ids of each, before the job is requested, and afterwards its
number. The next run writes nothing until it knows how these jobs ended.
"""

from __future__ import annotations

import json
import logging
import re
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ingest.core import carried_properties
from ingest.core.contract import IMPORTING
from ingest.core.errors import InterruptedRunError, MilvusError
from ingest.milvus import import_jobs, properties
from ingest.milvus.connection import CALL_TIMEOUT_S
from ingest.milvus.import_jobs import JobState

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Mapping, Sequence

    from ingest.milvus.collection import Collection

log = logging.getLogger(__name__)

_POLL_S = 0.5
_UNKNOWN_STATE_S = 600.0
"""How long a job may be in a state that this version does not know before a run gives up on it."""
_UNANSWERED_S = 30.0
"""How long a request whose answer was lost may take to become a job."""
_VISIBLE_WITHIN_S = 120.0
_OLD_S = 3600.0
"""After this time an imported row that is missing is not late: somebody has deleted it."""
_ABANDONED_S = 86_400.0
_FILE_NAME = re.compile(r"\w+_[0-9a-f]{12}_[0-9a-f]{32}\.parquet")  # the collection's name and a number of its own
_SAMPLE = 8


@dataclass(frozen=True, slots=True)
class PendingFile:
    """A file to import: its name, digests of some of its rows, by id, and the number of its job, 0 if unknown."""

    name: str
    rows: dict[str, str]
    job: int = 0


class _Recorded(NamedTuple):
    """When imports were requested, in seconds since 1970; their files; and their folder, None if it is not known."""

    requested: float
    files: list[PendingFile]
    folder: Path | None


_NOTHING = _Recorded(0, [], None)


def pending_file(name: str, digests: Mapping[str, str]) -> PendingFile:
    """Return a file to import, whose rows have these digests by id; a sample of them, first and last too, is kept."""
    ids = list(digests)
    step = max(1, (len(ids) - 1) // (_SAMPLE - 1))
    return PendingFile(name, {product_id: digests[product_id] for product_id in (*ids[::step][:_SAMPLE], ids[-1])})


def record(collection: Collection, files: Sequence[PendingFile], folder: Path | None = None) -> None:
    """Record that these files of a folder on this machine, and no others, are being imported."""
    content: dict[str, Any] | None = None
    if files:
        place = {"folder": str(folder.absolute())} if folder else {}
        content = {"asked": time.time(), **place, "files": [asdict(file) for file in files]}
    value = json.dumps(content) if content else ""
    properties.set_properties(collection.connection, collection.name, {IMPORTING: value})


def settle(collection: Collection, folder: Path | None, stop: threading.Event) -> None:
    """Wait for imports that an earlier run left behind, until their rows can be read; remove its files.

    They are removed from the folder that it used, whatever this run's `folder` is, if that is on this machine.

    Raises MilvusError if it cannot be known how one ends: its rows would be written twice.
    """
    if collection.connection.is_lite:
        return
    requested, files, written_in = recorded = _recorded(collection)
    if folder is not None:
        _sweep(folder, collection.contract.alias, {file.name for file in files})
    if not files:
        # Jobs of an older ingest, or of somebody else.
        _wait_for_all(collection, stop, unknown=False)
        return
    log.warning("an earlier run left %d files to be imported into %s", len(files), collection.name)
    for number in sorted({file.job for file in files if file.job}):
        if wait_for_job(collection, number, stop).state is not JobState.COMPLETED:
            files = [file for file in files if file.job != number]
    imported = _digests(file for file in files if file.job)
    if missing := _wait_for_rows(collection, imported, stop):
        if time.time() - requested < _OLD_S:
            raise MilvusError(
                f"Milvus at {collection.connection.shown}: an import into {collection.name} has ended, but its rows "
                f"are not visible yet ({missing[0]}); run again in a few minutes"
            )
        log.warning("%s lacks rows that were imported (%s); they are written again", collection.name, missing[0])
    if unanswered := _digests(file for file in files if not file.job):
        _wait_for_unanswered(collection, unanswered, stop)
    names = [file.name for file in recorded.files]
    remove_files(written_in, names)
    clear(collection, names, folder)


def clear(collection: Collection, names: Sequence[str], folder: Path | None) -> None:
    """Remove files that were imported, or never will be, and record that no import is under way."""
    remove_files(folder, names)
    record(collection, [])


def remove_files(folder: Path | None, names: Iterable[str]) -> None:
    """Remove those of these files that are import files by their names: the record may be anybody's."""
    for name in names:
        if folder is not None and _FILE_NAME.fullmatch(name):
            with suppress(OSError):
                (folder / name).unlink()


def _sweep(folder: Path, alias: str, recorded: set[str]) -> None:
    """Remove import files for collections of the alias that a killed run left, which no later run recorded, a day ago.

    Its run may have had another model or schema: then no run asks the collection that recorded them.
    """
    for path in folder.glob(f"{alias}_*.parquet"):
        with suppress(OSError):
            if path.name not in recorded and time.time() - path.stat().st_mtime > _ABANDONED_S:
                remove_files(folder, [path.name])


def wait_for_job(collection: Collection, number: int, stop: threading.Event) -> import_jobs.ImportJob:
    """Wait for a job's end and return how it ended; raises MilvusError if its state stays unknown."""
    last_known = time.monotonic()
    while True:
        found = import_jobs.job(collection, number)
        if found.state not in (JobState.UNFINISHED, JobState.UNKNOWN):
            return found
        if found.state is JobState.UNFINISHED:
            last_known = time.monotonic()
        elif time.monotonic() - last_known > _UNKNOWN_STATE_S:
            raise MilvusError(
                f"Milvus at {collection.connection.shown}: import job {number} is in a state that this ingest does not "
                f"know ({found.said}); run again when the server has ended it"
            )
        _pause(stop)


def refresh(collection: Collection) -> None:
    """Have the server load what was imported into a collection that is already loaded."""
    connection = collection.connection
    connection.call("load what was imported", connection.client.refresh_load, collection.name, timeout=CALL_TIMEOUT_S)


def missing_ids(collection: Collection, digests: Mapping[str, str]) -> list[str]:
    """Return those of these ids that have no row with their digest."""
    found = collection.digests(list(digests))
    return [product_id for product_id, digest in digests.items() if found.get(product_id) != digest]


def _wait_for_rows(collection: Collection, digests: Mapping[str, str], stop: threading.Event) -> list[str]:
    """Wait until rows with these digests, by id, can be read; return the ids of those that cannot in time."""
    if not digests:
        return []
    refresh(collection)
    ends = time.monotonic() + _VISIBLE_WITHIN_S
    while missing := missing_ids(collection, digests):
        if time.monotonic() > ends:
            return missing
        _pause(stop)
    return []


def _wait_for_unanswered(collection: Collection, digests: Mapping[str, str], stop: threading.Event) -> None:
    """Wait until rows whose job is unknown can be read, or until no job is left that could import them."""
    if not _wait_for_all(collection, stop, unknown=True):
        refresh(collection)
    ends = time.monotonic() + _UNANSWERED_S
    while missing_ids(collection, digests) and time.monotonic() < ends:
        if _wait_for_all(collection, stop, unknown=True):
            ends = time.monotonic() + _UNANSWERED_S
        _pause(stop)


def _wait_for_all(collection: Collection, stop: threading.Event, *, unknown: bool) -> bool:
    """Wait until no job of the collection is under way; return whether one was."""
    began, waited = time.monotonic(), False
    while count := import_jobs.count_unfinished(collection, unknown=unknown):
        if not waited:
            log.warning("waiting for import jobs of an earlier run: %d", count)
        waited = True
        if not import_jobs.count_unfinished(collection, unknown=False) and time.monotonic() - began > _UNKNOWN_STATE_S:
            raise MilvusError(
                f"Milvus at {collection.connection.shown}: import jobs into {collection.name} are in a state that this "
                "ingest does not know; run again when the server has ended them"
            )
        _pause(stop)
    if waited:
        refresh(collection)
    return waited


def _digests(files: Iterable[PendingFile]) -> dict[str, str]:
    return {product_id: digest for file in files for product_id, digest in file.rows.items()}


def _recorded(collection: Collection) -> _Recorded:
    """Read which imports are under way; what cannot be read counts as none.

    Jobs that are not named here are waited for as those of somebody else.
    """
    value = properties.get(collection.connection, collection.name).get(IMPORTING, "")
    if not value:
        return _NOTHING
    found = _NOTHING
    with suppress(ValueError, TypeError, KeyError, AttributeError, OverflowError):
        content = carried_properties.read_json(value)
        folder, entries = content.get("folder"), content["files"]
        found = _Recorded(float(content["asked"]), [*map(_read_file, entries)], Path(folder) if folder else None)
    files = [file for file in found.files if _FILE_NAME.fullmatch(file.name)]
    if not files or len(files) < len(found.files):
        log.warning("%s: its property %s cannot be read, and is written again", collection.name, IMPORTING)
    if not files:
        record(collection, [])
    return found._replace(files=files)


def _read_file(entry: Any) -> PendingFile:
    """Return a file as `record` wrote it; raises ValueError, TypeError, KeyError or AttributeError if this is none."""
    name, rows, job = entry["name"], entry["rows"], entry["job"]
    digests = rows.values()
    if not isinstance(name, str) or type(job) is not int or not all(isinstance(digest, str) for digest in digests):
        raise TypeError(name)
    if not 0 <= job < 2**63:
        raise ValueError(name)
    return PendingFile(name, rows, job)


def _pause(stop: threading.Event) -> None:
    if stop.wait(_POLL_S):
        raise InterruptedRunError("interrupted while the server imports; run the same command again to continue")
