"""First loads by the server's import jobs: rows as Parquet in a folder that the server sees too, and no upserts.

An import only adds: a row whose id exists already would be there twice, so those are upserted. So are rows with NaN,
which an import refuses (seen with 2.3.5). The files are written by pyarrow and not by pymilvus' bulk writer, which
makes null of NaN, and for null Milvus 2.3.5 gives the row another's value.
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
from ingest.runtime.parallel import batched
from ingest.sync.inventory import ABSENT, key

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
"""Files that the server imports at once; their records wait in memory until the rows can be read.

Each step of a job, of which Milvus 2.4 and newer have five, waits for a look every two seconds, whatever its size.
"""
_POLL_S, _SEEN_WITHIN_S = 0.5, 120.0
_LOOKED_UP = 8192  # ids; a strong read waits for the next tick of the server's clock, 0.2 s, whatever it reads


@dataclass(frozen=True, slots=True)
class ImportFolder:
    """Where files for the server go: `here` on this machine, which the server sees as `there`."""

    here: Path
    there: str


@dataclass(slots=True)
class _Part:
    """Records that go into one file; `refused` is why they did not go in, "" if they did."""

    file: pending_imports.PendingFile
    records: list[Embedded]
    refused: str = ""


def load(
    records: Iterable[Embedded | Skipped], collection: Collection, present: Inventory, folder: ImportFolder,
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
    files = _files(rest)
    asking = import_jobs.import_api(collection)
    while batches := list(islice(files, FILES_AT_ONCE)):
        parted = [_parted(batch, collection, present) for batch in batches]
        for _, others in parted:
            yield from writer.upsert(others, collection)
        parts = [_part(new, collection) for new, _ in parted if new]
        _import(parts, collection, asking, folder, stop)
        refused = [part for part in parts if part.refused]
        for part in parts:
            yield from writer.upsert(part.records, collection) if part.refused else part.records
        if refused:
            log.warning("--load bulk: %s; the rows are upserted", refused[0].refused)
            yield from writer.upsert(rest, collection)
            return


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
    batch: list[Embedded | Skipped], collection: Collection, present: Inventory
) -> tuple[list[Embedded], list[Embedded | Skipped]]:
    """Return what can be imported, and the others."""
    new: list[Embedded] = []
    others: list[Embedded | Skipped] = []
    for record in batch:
        if isinstance(record, Embedded) and _is_finite(record, collection.contract) and _is_absent(record, present):
            new.append(record)
        else:
            others.append(record)
    known = _known(new, collection)
    return (
        [record for record in new if record.product.product_id not in known],
        [*others, *(record for record in new if record.product.product_id in known)],
    )


def _is_finite(record: Embedded, contract: Contract) -> bool:
    """Return whether no number is NaN in the collection."""
    kept = (value for name, value in record.product.metadata.items() if name not in contract.missing)
    return all(math.isfinite(value) for value in kept if isinstance(value, float))


def _is_absent(record: Embedded, present: Inventory) -> bool:
    return int(present.find([key(record.product.product_id)])[0]) == ABSENT


def _known(records: Sequence[Embedded], collection: Collection) -> set[str]:
    """Return the ids that have a row: an iterator over a collection may leave some out (milvus-io/milvus #52055)."""
    ids = [record.product.product_id for record in records]
    return {known for some in batched(ids, _LOOKED_UP) for known in collection.digests(some)}


def _part(records: list[Embedded], collection: Collection) -> _Part:
    ids, digests, _ = writer.identities(records, collection)
    name = f"{collection.name}_{uuid.uuid4().hex}.parquet"
    return _Part(pending_imports.pending_file(name, dict(zip(ids, digests, strict=True))), records)


def _import(
    parts: Sequence[_Part],
    collection: Collection,
    asking: import_jobs.ImportApi,
    folder: ImportFolder,
    stop: threading.Event,
) -> None:
    """Import files, and return when every row of those that were not refused can be read, with its digest."""
    if not parts:
        return
    pending_imports.remember(collection, [part.file for part in parts])  # first, so that the next run removes them
    for part in parts:
        with storage_errors(folder.here / part.file.name):
            folder.here.mkdir(parents=True, exist_ok=True)
            _write(folder.here / part.file.name, part.records, collection)
    try:
        _ask(parts, asking, folder)
    except UnansweredError:
        # As after a kill: whether the server has heard is seen by what becomes of the rows.
        pending_imports.settle(collection, folder.here, stop)
        _refuse_missing(parts, collection)
        return
    pending_imports.remember(collection, [part.file for part in parts if part.file.job])
    for number in {part.file.job for part in parts if part.file.job}:
        ended = pending_imports.end(collection, number, stop)
        if ended.standing is not JobState.COMPLETED:
            for part in parts:
                if part.file.job == number:
                    part.refused = f"the import job ended as {ended.standing.value}: {ended.said}"
    imported = [part for part in parts if not part.refused]
    if imported:
        pending_imports.refresh(collection)
    for part in imported:
        _see(part.records, collection, stop)
    pending_imports.forget(collection, [part.file.name for part in parts], folder.here)


def _ask(parts: Sequence[_Part], asking: import_jobs.ImportApi, folder: ImportFolder) -> None:
    """Ask for jobs over all files; those that the server refuses are not imported."""
    for group in batched(parts, asking.most):
        try:
            number = asking.ask([f"{folder.there.rstrip('/')}/{part.file.name}" for part in group])
        except MilvusError as error:
            for part in parts:
                part.refused = part.refused or (str(error) if not part.file.job else "")
            return
        for part in group:
            part.file = replace(part.file, job=number)


def _refuse_missing(parts: Sequence[_Part], collection: Collection) -> None:
    """Have those parts upserted whose rows are not there, though the server was asked to import them."""
    for part in parts:
        if pending_imports.absent(collection, part.file.rows):
            part.refused = "the server gave no answer to an import"


def _see(records: Sequence[Embedded], collection: Collection, stop: threading.Event) -> None:
    """Wait until rows can be read, some seconds after their job's end, and compare every digest.

    Their number is not compared: during a compaction count(*) may be too large (milvus-io/milvus #31484).
    """
    ends = time.monotonic() + _SEEN_WITHIN_S
    ids, digests, _ = writer.identities(records, collection)
    for batch in batched(zip(ids, digests, strict=True), _LOOKED_UP):
        while missing := pending_imports.absent(collection, dict(batch)):
            if time.monotonic() > ends:
                raise MilvusError(
                    f"Milvus at {collection.connection.shown}: after an import into {collection.name} rows have "
                    f"another digest or are missing ({missing[0]}); run again with --load upsert, which puts it right"
                )
            if stop.wait(_POLL_S):
                raise InterruptedRunError("interrupted while the server imports; run the same command again to go on")


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
