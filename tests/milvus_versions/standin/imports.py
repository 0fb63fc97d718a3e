"""Import jobs: a job reads Parquet files from a folder of the server into a collection.

They are requested by the call of 2.2, which later versions translate (convertToV1… in internal/proxy/impl.go), or over
REST.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from pymilvus import DataType
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from milvus_versions.standin.call import operation
from milvus_versions.standin.catalog import META
from milvus_versions.standin.refusal import IMPORT_FAILED, UNEXPECTED, RefusalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milvus_versions.standin.call import Call
    from milvus_versions.standin.catalog import Collection, Row
    from milvus_versions.standin.server import Server

PENDING, IMPORTING, COMPLETED, FAILED = "Pending", "Importing", "Completed", "Failed"
"""internalpb.ImportJobState, as GetJobProgress (internal/datacoord/import_util.go) reports it."""
_OLD_STATES = {
    PENDING: common_pb2.ImportPending,
    IMPORTING: common_pb2.ImportStarted,
    COMPLETED: common_pb2.ImportCompleted,
    FAILED: common_pb2.ImportFailed,
}
_MAX_FILES = 1024
"""dataCoord.import.maxImportFileNumPerReq."""


@dataclass(slots=True)
class Job:
    """One job: where its rows go, the files it reads, when it began and may end, in s, and how it ended."""

    number: int
    database: str
    collection: str
    files: tuple[str, ...]
    began: float
    ends: float
    rows: int = 0
    failed: str = ""
    done: bool = False

    @property
    def state(self) -> str:
        if not self.done:
            return IMPORTING
        return FAILED if self.failed else COMPLETED

    def settle(self, server: Server) -> None:
        """Do the job's work if its time has come and imports are not held."""
        if self.done or time.monotonic() < self.ends or server.imports_held:
            return
        self.done = True
        collection = server.catalog.databases[self.database].collections.get(self.collection)
        if collection is None:
            self.failed = f"collection not found[collection={self.collection}]"
            return
        try:
            rows = [row for file in self.files for row in _read(server, file, collection)]
        except (OSError, KeyError, ValueError) as error:
            self.failed = f"{error}: importing data failed"
            return
        self.rows = len(rows)
        collection.pending += rows
        if server.dialect.has_jobs:  # a completed job's segments are loaded automatically, a little later
            collection.refresh()


def submit(server: Server, database: str, name: str, files: Sequence[str]) -> Job:
    """Start a job; refuses a missing collection (task_import.go), and too many files."""
    collection = server.catalog.database(database).find(name)
    if collection is None:
        raise RefusalError(100, f"collection not found[database={database}][collection={name}]")
    if not 0 < len(files) <= _MAX_FILES:
        said = f"The max number of import files should not exceed {_MAX_FILES}, but got {len(files)}"
        raise RefusalError(IMPORT_FAILED, f"{said}: importing data failed")
    if not server.dialect.has_jobs and any(not file.endswith((".parquet", ".json", ".npy")) for file in files):
        raise RefusalError(UNEXPECTED, "file type is not supported")
    now = time.monotonic()
    job = Job(server.catalog.number(), database, collection.name, tuple(files), time.time(), now + server.import_s)
    server.jobs[job.number] = job
    job.settle(server)
    return job


def found(server: Server, number: int) -> Job:
    """Return a job in its current state; refuses a missing one."""
    if number not in server.jobs:
        raise RefusalError(IMPORT_FAILED, f"import job does not exist, jobID={number}: importing data failed")
    job: Job = server.jobs[number]
    job.settle(server)
    return job


def listed(server: Server, database: str, name: str) -> list[Job]:
    """Return the jobs of a collection, or of a whole database if no name is given."""
    collection = server.catalog.database(database).find(name) if name else None
    jobs = [found(server, number) for number in server.jobs]
    known = collection.name if collection else name
    return [job for job in jobs if job.database == database and known in ("", job.collection)]


@operation
def import_(call: Call) -> Any:
    job = submit(call.server, call.database_name, call.request.collection_name, list(call.request.files))
    return call.answer(tasks=[job.number])


@operation
def get_import_state(call: Call) -> Any:
    return _progress(call, found(call.server, call.request.task), whole=True)


@operation
def list_import_tasks(call: Call) -> Any:
    jobs = listed(call.server, call.database_name, call.request.collection_name)
    # convertToV1ListImportResponse: listed jobs have neither id nor rows nor time
    return call.answer(tasks=[_progress(call, job, whole=not call.dialect.has_jobs) for job in jobs])


def _progress(call: Call, job: Job, *, whole: bool) -> Any:
    made = milvus_pb2.GetImportStateResponse(state=_OLD_STATES[job.state])
    made.infos.append(common_pb2.KeyValuePair(key="failed_reason", value=job.failed))
    made.infos.append(common_pb2.KeyValuePair(key="progress_percent", value="100" if job.done else "10"))
    if whole:
        made.row_count = job.rows
        made.create_ts = int(job.began)
    if not call.dialect.has_jobs:
        made.id = job.number
    return made


def _read(server: Server, file: str, collection: Collection) -> list[Row]:
    """Read a file's rows; refuses a missing column, and nulls in a field that is not nullable."""
    from pyarrow import parquet

    folders = server.import_folders.items()
    under = [(there, here) for there, here in folders if PurePosixPath(file).is_relative_to(there)]
    path = under[0][1] + file.removeprefix(under[0][0].rstrip("/")) if under else file
    table = parquet.read_table(path)
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    for name, field in collection.fields.items():
        _check_column(name, field, columns.get(name))
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


def _check_column(name: str, field: Any, values: list[Any] | None) -> None:
    """internal/util/importutilv2/parquet: floats are verified there in all versions (NaN seen refused with 2.3.5)."""
    if values is None:
        if not field.is_dynamic and not field.nullable:
            raise KeyError(f"no parquet field for milvus field '{name}'")
        return
    if None in values and not field.nullable and not field.is_dynamic:
        raise ValueError(f"the field '{name}' is not nullable, but there are nulls in the file")
    if field.data_type in (DataType.FLOAT, DataType.DOUBLE) and any(
        value is not None and not math.isfinite(value) for value in values
    ):
        raise ValueError(f"the value of field '{name}' is not a number or infinity")
