"""First loads by the server's import job: rows as Parquet in a folder that the server sees too, and no upserts.

An import only adds: a row whose id is there already would be there twice, so those are upserted. So are rows with NaN,
which an import refuses (seen with 2.3.5). The files are written by pyarrow and not by pymilvus' bulk writer, which
makes null of NaN, and for null Milvus 2.3.5 gives the row another's value. Jobs are asked for by the call that Milvus
has had since 2.2 and keeps in later versions.
"""

from __future__ import annotations

import json
import logging
import math
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest import missing
from ingest.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.durable import writing_to
from ingest.errors import InterruptedRunError, MilvusError
from ingest.flow import batched
from ingest.inventory import ABSENT, key
from ingest.records import Embedded
from ingest.sinks.milvus import writer
from ingest.sinks.milvus.connection import CALL_TIMEOUT_S

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from ingest.contract import Contract
    from ingest.inventory import Inventory
    from ingest.records import Skipped
    from ingest.sinks.milvus.collection import Collection

log = logging.getLogger(__name__)

FILE_BYTES = 64 * 2**20
"""Vectors and text of one file; its records wait in memory until the server has it."""
_POLL_S, _SEEN_WITHIN_S = 0.5, 120.0
_RECENT_S, _SETTLED_WITHIN_S = 600.0, 30.0  # what was imported and deleted since is never seen: do not wait for long
_TASKS = 1000
_UNFINISHED = frozenset({"Pending", "Started", "Persisted", "Downloaded", "Parsed", "Flushed"})


@dataclass(frozen=True, slots=True)
class Folder:
    """Where files for the server go: `here` on this machine, which the server sees as `there`."""

    here: Path
    there: str


class _RefusedError(Exception):
    """The server cannot import; why, in one line."""


def load(
    records: Iterable[Embedded | Skipped], collection: Collection, present: Inventory, folder: Folder,
    stop: threading.Event,
) -> Iterator[Embedded | Skipped]:  # fmt: skip
    """Import the rows that are not `present`, upsert the others, and yield each record when its row is there.

    Where the server cannot import, all is upserted, with the reason in a line of the log.
    """
    if collection.connection.is_lite:
        log.warning("--load bulk: Milvus Lite has no import jobs; the rows are upserted")
        yield from writer.upsert(records, collection)
        return
    rest = iter(records)
    for batch in _files(rest):
        new, others = _parted(batch, present, collection.contract)
        yield from writer.upsert(others, collection)
        try:
            _import(new, collection, folder, stop)
        except _RefusedError as refusal:
            log.warning("--load bulk: %s; the rows are upserted", refusal)
            yield from writer.upsert(new, collection)
            yield from writer.upsert(rest, collection)
            return
        yield from new


def settled(collection: Collection, stop: threading.Event) -> None:
    """Wait for import jobs that a killed run left behind: their rows would else be written a second time."""
    if collection.connection.is_lite or not (tasks := _recent(collection)):
        return
    if unfinished := [task for task in tasks if task.state_name in _UNFINISHED]:
        log.warning("waiting for %d import jobs of a run before this one", len(unfinished))
    rows = 0
    for task in tasks:
        with suppress(_RefusedError):
            rows += _ended(task.task_id, collection, stop)
    _refresh(collection)
    ends = time.monotonic() + _SETTLED_WITHIN_S
    while collection.count() < rows and time.monotonic() < ends and not stop.wait(_POLL_S):
        pass


def _files(records: Iterator[Embedded | Skipped]) -> Iterator[list[Embedded | Skipped]]:
    batch: list[Embedded | Skipped] = []
    size = 0
    for record in records:
        batch.append(record)
        size += writer.row_bytes(record) if isinstance(record, Embedded) else 0
        if size >= FILE_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _parted(
    batch: list[Embedded | Skipped], present: Inventory, contract: Contract
) -> tuple[list[Embedded], list[Embedded | Skipped]]:
    """Return what can be imported, and the others."""
    new: list[Embedded] = []
    others: list[Embedded | Skipped] = []
    for record in batch:
        if isinstance(record, Embedded) and _is_finite(record, contract) and _is_absent(record, present):
            new.append(record)
        else:
            others.append(record)
    return new, others


def _is_finite(record: Embedded, contract: Contract) -> bool:
    """Return whether no number is NaN in the collection."""
    kept = (value for name, value in record.product.metadata.items() if name not in contract.missing)
    return all(math.isfinite(value) for value in kept if isinstance(value, float))


def _is_absent(record: Embedded, present: Inventory) -> bool:
    return int(present.find([key(record.product.product_id)])[0]) == ABSENT


def _import(records: Sequence[Embedded], collection: Collection, folder: Folder, stop: threading.Event) -> None:
    if not records:
        return
    name = f"{collection.name}_{uuid.uuid4().hex}.parquet"
    path = folder.here / name
    before = collection.count()
    try:
        with writing_to(path):
            folder.here.mkdir(parents=True, exist_ok=True)
            _write(path, records, collection)
        task = _asked(f"{folder.there.rstrip('/')}/{name}", collection)
        rows = _ended(task, collection, stop)
    finally:
        with suppress(OSError):
            path.unlink()
    if rows != len(records):
        raise MilvusError(
            f"Milvus at {collection.connection.shown}: imported {rows} of {len(records)} rows into {collection.name}; "
            "run again with --load upsert, which puts it right"
        )
    _refresh(collection)
    _seen(records, collection, before + len(records), stop)


def _write(path: Path, records: Sequence[Embedded], collection: Collection) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    contract, dim = collection.contract, collection.space.dim
    types = {"VARCHAR": pa.string(), "INT64": pa.int64(), "FLOAT": pa.float32(), "DOUBLE": pa.float64()}
    ids, digests, shas = writer.identities(records, collection)
    flat = pa.array(np.concatenate([record.vector for record in records]).astype(np.float32, copy=False))
    offsets = pa.array(np.arange(0, len(flat) + 1, dim, dtype=np.int32))
    columns: dict[str, Any] = {
        PRIMARY_KEY: pa.array(ids, pa.string()),
        contract.index.field: pa.ListArray.from_arrays(offsets, flat),
        ROW_DIGEST: pa.array(digests, pa.string()),
        IMAGE_SHA256: pa.array(shas, pa.string()),
    }
    for field in contract.fields:
        values = missing.stored([record.product.metadata[field.name] for record in records], field.name, contract)
        columns[field.name] = pa.array(values, types.get(field.type, pa.bool_()))
    if contract.keeps_others:
        typed = {field.name for field in contract.fields}
        others = (
            {name: value for name, value in record.product.metadata.items() if name not in typed} for record in records
        )
        columns["$meta"] = pa.array([json.dumps(other, ensure_ascii=False) for other in others], pa.string())
    parquet.write_table(pa.table(columns), path)


def _asked(path: str, collection: Collection) -> int:
    try:
        return int(_direct(collection, "import", "do_bulk_insert", collection.name, "", [path]))
    except MilvusError as error:
        raise _RefusedError(str(error)) from error


def _ended(task: int, collection: Collection, stop: threading.Event) -> int:
    """Wait for a job's end and return its rows; raises _RefusedError with the server's reason where it failed."""
    while True:
        state = _direct(collection, "watch the import", "get_bulk_insert_state", task)
        if state.state_name == "Completed":
            return int(state.row_count)
        if state.state_name not in _UNFINISHED:
            reason = " ".join(str(state.failed_reason or state.state_name).split())[:300]
            raise _RefusedError(f"the import job ended as {state.state_name}: {reason}")
        if stop.wait(_POLL_S):
            raise InterruptedRunError("interrupted while the server imports; run the same command again to go on")


def _seen(records: Sequence[Embedded], collection: Collection, rows: int, stop: threading.Event) -> None:
    """Wait until a job's rows are served, some seconds after its end, and compare their number and every digest."""
    ends = time.monotonic() + _SEEN_WITHIN_S
    while (there := collection.count()) < rows and time.monotonic() < ends and not stop.wait(_POLL_S):
        pass
    fault = f"{there} rows, not {rows}" if there != rows else ""
    ids, digests, _ = writer.identities(records, collection)
    for batch in batched(zip(ids, digests, strict=True), writer.MAX_ROWS):
        wanted = dict(batch)
        found = {row[PRIMARY_KEY]: row[ROW_DIGEST] for row in collection.matching(list(wanted), [ROW_DIGEST])}
        if found != wanted:
            fault = fault or f"{len(wanted.items() - found.items())} of {len(wanted)} rows with another digest or none"
    if fault and not stop.is_set():
        raise MilvusError(
            f"Milvus at {collection.connection.shown}: after an import {collection.name} has {fault}; run again with "
            "--load upsert, which puts it right"
        )


def _recent(collection: Collection) -> list[Any]:
    """Return the jobs that are not ended, or so lately that their rows may not be served yet."""
    try:
        tasks = _direct(collection, "list the imports", "list_bulk_insert_tasks", _TASKS, collection.name)
    except MilvusError:  # a server without import jobs has none that are unfinished
        return []
    since = time.time() - _RECENT_S
    return [task for task in tasks if task.state_name in _UNFINISHED or task.create_timestamp > since]


def _refresh(collection: Collection) -> None:
    """Have the server load what was imported into a collection that is loaded already."""
    _call(collection, "load what was imported", collection.connection.client.refresh_load, collection.name)


def _direct(collection: Collection, doing: str, method: str, *args: Any) -> Any:
    # MilvusClient has no import jobs of its own; `utility.do_bulk_insert`, which has, is deprecated and calls these.
    return _call(collection, doing, collection.connection.direct, method, *args)


def _call(collection: Collection, doing: str, function: Any, *args: Any) -> Any:
    return collection.connection.call(doing, function, *args, timeout=CALL_TIMEOUT_S)
