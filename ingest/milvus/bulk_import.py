"""First loads by the server's import jobs: rows as Parquet files in a folder that the server reads too.

An import only adds rows: one whose id exists already would exist twice, so those are upserted. So are rows with NaN,
which an import refuses (seen with 2.3.5). pyarrow writes the files, not pymilvus' bulk writer: that turns NaN into
null, and for null Milvus 2.3.5 gives the row another row's value.
"""

from __future__ import annotations

import json
import logging
import math
import time
import uuid
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core import missing_numbers
from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.core.errors import InterruptedRunError, MilvusError
from ingest.core.records import Embedded
from ingest.milvus import import_jobs, pending_imports, writer
from ingest.milvus.import_jobs import JobState, UnansweredError
from ingest.runtime.atomic_files import storage_errors
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.parallel import batched

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from ingest.core.contract import Contract
    from ingest.core.records import Skipped
    from ingest.milvus.collection import Collection
    from ingest.sync.inventory import Inventory

log = logging.getLogger(__name__)

FILE_BYTES = 64 * 2**20
"""Vectors and text of one file."""
FILES_AT_ONCE = 4
"""Files that the server imports at once; their records stay in memory until the rows can be read.

A job of Milvus 2.4 and newer has five steps, and the server checks only every two seconds whether one has ended.
"""
_POLL_S, _VISIBLE_WITHIN_S = 0.5, 120.0
_ID_BATCH = 8192  # a strong read waits for the next tick of the server's clock, 0.2 s, whatever it reads


@dataclass(frozen=True, slots=True)
class ImportFolder:
    """The folder for import files: `here` on this machine, `there` on the server."""

    here: Path
    there: str


@dataclass(slots=True)
class _Part:
    """The records of one file; `refused` is why they were not imported, "" if they were."""

    file: pending_imports.PendingFile
    records: list[Embedded]
    refused: str = ""


def load(
    records: Iterable[Embedded | Skipped], collection: Collection, present: Inventory, folder: ImportFolder,
    stop: threading.Event,
) -> Iterator[Embedded | Skipped]:  # fmt: skip
    """Import the rows that are not `present`, upsert the others, and yield each record when its row exists.

    If the server cannot import, all rows are upserted, and the reason is logged.
    """
    if collection.connection.is_lite:
        log.warning("--load bulk: Milvus Lite has no import jobs; the rows are upserted")
        yield from writer.upsert(records, collection)
        return
    rest = iter(records)
    files = _split_by_size(rest)
    api = import_jobs.import_api(collection)
    while batches := list(islice(files, FILES_AT_ONCE)):
        parts = []
        for batch in batches:
            new, others = _separate_new(batch, collection, present)
            yield from writer.upsert(others, collection)
            if new:
                parts.append(_part(new, collection))
        _import(parts, collection, api, folder, stop)
        refused = [part for part in parts if part.refused]
        for part in parts:
            yield from writer.upsert(part.records, collection) if part.refused else part.records
        if refused:
            log.warning("--load bulk: %s; the rows are upserted", refused[0].refused)
            yield from writer.upsert(rest, collection)
            return


def _split_by_size(records: Iterator[Embedded | Skipped]) -> Iterator[list[Embedded | Skipped]]:
    """Yield the records of one file after another."""
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


def _separate_new(
    batch: list[Embedded | Skipped], collection: Collection, present: Inventory
) -> tuple[list[Embedded], list[Embedded | Skipped]]:
    """Return the records that can be imported, and the others."""
    new: list[Embedded] = []
    others: list[Embedded | Skipped] = []
    for record in batch:
        if isinstance(record, Embedded) and _is_finite(record, collection.contract) and _is_absent(record, present):
            new.append(record)
        else:
            others.append(record)
    existing = _existing_ids(new, collection)
    return (
        [record for record in new if record.product.product_id not in existing],
        [*others, *(record for record in new if record.product.product_id in existing)],
    )


def _is_finite(record: Embedded, contract: Contract) -> bool:
    """Return whether the row has no NaN as the collection keeps it."""
    values = (value for name, value in record.product.metadata.items() if name not in contract.missing)
    return all(math.isfinite(value) for value in values if isinstance(value, float))


def _is_absent(record: Embedded, present: Inventory) -> bool:
    return int(present.find([record.product.product_id])[0]) == ABSENT


def _existing_ids(records: Sequence[Embedded], collection: Collection) -> set[str]:
    """Return the ids that have a row: `present` may lack some, since iterators leave rows out (milvus #52055)."""
    ids = [record.product.product_id for record in records]
    return {existing for some in batched(ids, _ID_BATCH) for existing in collection.digests(some)}


def _part(records: list[Embedded], collection: Collection) -> _Part:
    ids, digests, _ = writer.identities(records, collection)
    name = f"{collection.name}_{uuid.uuid4().hex}.parquet"
    return _Part(pending_imports.pending_file(name, dict(zip(ids, digests, strict=True))), records)


def _import(
    parts: Sequence[_Part],
    collection: Collection,
    api: import_jobs.ImportApi,
    folder: ImportFolder,
    stop: threading.Event,
) -> None:
    """Import files; return when every row of those that were not refused can be read, with its digest."""
    if not parts:
        return
    pending_imports.record(
        collection, [part.file for part in parts], folder.here
    )  # first, so that the next run removes them
    for part in parts:
        with storage_errors(folder.here / part.file.name):
            folder.here.mkdir(parents=True, exist_ok=True)
            _write(folder.here / part.file.name, part.records, collection)
    try:
        _start_jobs(parts, api, folder)
    except UnansweredError:
        # As after a kill: only the rows show whether the server has received the request.
        pending_imports.settle(collection, folder.here, stop)
        _refuse_missing(parts, collection)
        return
    pending_imports.remove_files(folder.here, [part.file.name for part in parts if not part.file.job])
    pending_imports.record(collection, [part.file for part in parts if part.file.job], folder.here)
    for number in {part.file.job for part in parts if part.file.job}:
        ended = pending_imports.wait_for_job(collection, number, stop)
        if ended.state is not JobState.COMPLETED:
            for part in parts:
                if part.file.job == number:
                    part.refused = f"the import job ended as {ended.state.value}: {ended.said}"
    imported = [part for part in parts if not part.refused]
    if imported:
        pending_imports.refresh(collection)
    for part in imported:
        _wait_for_rows(part.records, collection, stop)
    pending_imports.clear(collection, [part.file.name for part in parts], folder.here)


def _start_jobs(parts: Sequence[_Part], api: import_jobs.ImportApi, folder: ImportFolder) -> None:
    """Start jobs over all files; those that the server refuses are marked."""
    for group in batched(parts, api.max_files):
        try:
            number = api.start([f"{folder.there.rstrip('/')}/{part.file.name}" for part in group])
        except MilvusError as error:
            for part in parts:
                part.refused = part.refused or (str(error) if not part.file.job else "")
            return
        for part in group:
            part.file = replace(part.file, job=number)


def _refuse_missing(parts: Sequence[_Part], collection: Collection) -> None:
    """Mark the parts whose rows are missing although the server was asked to import them, so that they are upserted."""
    for part in parts:
        if pending_imports.missing_ids(collection, part.file.rows):
            part.refused = "the server did not answer an import request"


def _wait_for_rows(records: Sequence[Embedded], collection: Collection, stop: threading.Event) -> None:
    """Wait until rows can be read, some seconds after their job's end, and compare every digest.

    Their count is not compared: during a compaction count(*) may be too large (milvus-io/milvus #31484).
    """
    ends = time.monotonic() + _VISIBLE_WITHIN_S
    ids, digests, _ = writer.identities(records, collection)
    for batch in batched(zip(ids, digests, strict=True), _ID_BATCH):
        while missing := pending_imports.missing_ids(collection, dict(batch)):
            if time.monotonic() > ends:
                raise MilvusError(
                    f"Milvus at {collection.connection.shown}: after an import into {collection.name} rows have "
                    f"another digest or are missing ({missing[0]}); run again with --load upsert, which fixes it"
                )
            if stop.wait(_POLL_S):
                raise InterruptedRunError(
                    "interrupted while the server imports; run the same command again to continue"
                )


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
        values = missing_numbers.to_stored(
            [record.product.metadata[field.name] for record in records], field.name, contract
        )
        columns[field.name] = pa.array(values, types.get(field.type, pa.bool_()))
    if contract.keeps_others:
        typed = {field.name for field in contract.fields}
        others = (
            {name: value for name, value in record.product.metadata.items() if name not in typed} for record in records
        )
        columns["$meta"] = pa.array([json.dumps(other, ensure_ascii=False) for other in others], pa.string())
    parquet.write_table(pa.table(columns), path)
