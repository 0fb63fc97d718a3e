"""Import jobs: Parquet files in a folder that the server sees, read by a job into a collection."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from pymilvus import DataType
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from milvus_versions.standin.call import operation
from milvus_versions.standin.catalog import META
from milvus_versions.standin.refusal import IMPORT_FAILED, RefusalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milvus_versions.standin.call import Call
    from milvus_versions.standin.catalog import Collection
    from milvus_versions.standin.server import Server

_STATES = common_pb2.ImportState


@dataclass(slots=True)
class Job:
    """One job: where its rows go, the files it reads, when it is done, and how it ended."""

    number: int
    database: str
    collection: str
    files: tuple[str, ...]
    began: float
    ends: float
    rows: int = 0
    failed: str = ""
    done: bool = False

    def settle(self, server: Server) -> None:
        """Do the job's work if its time has come."""
        if self.done or time.monotonic() < self.ends:
            return
        self.done = True
        collection = server.catalog.databases[self.database].collections.get(self.collection)
        if collection is None:
            self.failed = f"collection not found[collection={self.collection}]"
            return
        try:
            rows = [row for file in self.files for row in _read(server, file, collection)]
        except (OSError, KeyError, ValueError) as error:
            self.failed = f"{type(error).__name__}: {error}"
            return
        self.rows = len(rows)
        collection.pending |= {row[collection.key.name]: row for row in rows}

    @property
    def state(self) -> int:
        """What GetImportState says, of common.proto's ImportState."""
        if not self.done:
            return int(_STATES.ImportStarted)
        return int(_STATES.ImportFailed if self.failed else _STATES.ImportCompleted)


def submit(server: Server, database: str, collection: Collection, files: Sequence[str]) -> Job:
    """Begin a job."""
    now = time.monotonic()
    job = Job(server.catalog.number(), database, collection.name, tuple(files), time.time(), now + server.import_s)
    server.jobs[job.number] = job
    job.settle(server)
    return job


@operation
def import_(call: Call) -> Any:
    job = submit(call.server, call.database_name, call.collection(cached=False), list(call.request.files))
    return call.answer(tasks=[job.number])


@operation
def get_import_state(call: Call) -> Any:
    job = call.server.jobs.get(call.request.task)
    if job is None:
        raise RefusalError(
            IMPORT_FAILED, f"import job does not exist, jobID={call.request.task}: importing data failed"
        )
    job.settle(call.server)
    return _told(call, job, row_count=job.rows)


@operation
def list_import_tasks(call: Call) -> Any:
    name = call.request.collection_name
    jobs = [job for job in call.server.jobs.values() if job.database == call.database_name]
    for job in jobs:
        job.settle(call.server)
    jobs = [job for job in jobs if name in ("", job.collection)]
    if call.dialect.lists_whole_jobs:
        return call.answer(tasks=[_told(call, job, row_count=job.rows) for job in jobs])
    # convertToV1ListImportResponse, internal/proxy/util.go: neither ids nor rows nor times
    tasks = [milvus_pb2.GetImportStateResponse(state=job.state) for job in jobs]
    return call.answer(tasks=tasks)


def _told(call: Call, job: Job, row_count: int) -> Any:
    known = {"id": job.number, "create_ts": int(job.began)} if call.dialect.lists_whole_jobs else {}
    infos = [common_pb2.KeyValuePair(key="failed_reason", value=job.failed)] if job.failed else []
    return milvus_pb2.GetImportStateResponse(state=job.state, row_count=row_count, infos=infos, **known)


def _read(server: Server, file: str, collection: Collection) -> list[dict[str, Any]]:
    """Read a file's rows, as internal/util/importutilv2/parquet does: a column for each field."""
    from pyarrow import parquet

    here = next(
        (local + file.removeprefix(there.rstrip("/")) for there, local in server.import_folders.items()
         if PurePosixPath(file).is_relative_to(there)), file,
    )  # fmt: skip
    table = parquet.read_table(here)
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    rows = []
    for place in range(table.num_rows):
        row = {name: columns[name][place] if name in columns else None for name in collection.fields}
        for name, field in collection.fields.items():
            if field.data_type == DataType.FLOAT_VECTOR:
                row[name] = np.asarray(row[name], np.float32)
        if META in row:
            row[META] = json.loads(row[META] or "{}")
        rows.append(row)
    return rows
