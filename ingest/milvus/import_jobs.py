"""The server's import jobs: starting one, its state, and whether any is under way.

Milvus 2.4 and newer take many files for one job over REST, on the port of all other calls; 2.3 has no such address
(404). By gRPC every version takes one file. States are always asked for by gRPC: jobs have the same numbers and states
there. Since 2.4 a list of jobs has their states but no numbers (convertToV1ListImportResponse in internal/proxy).
"""

from __future__ import annotations

import logging
import os
import re
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ingest.core.errors import MilvusError
from ingest.milvus import error_codes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.milvus.collection import Collection
    from ingest.milvus.connection import Connection

log = logging.getLogger(__name__)

_REQUEST_TIMEOUT_S = 20.0  # the server only records or reports a job: if it takes longer, the connection went silent
_MAX_LISTED = 1000
_UNKNOWN_JOB = re.compile(r"import job does not exist|key not found\[key=\S*importtask")
"""What Milvus says about an unknown job: 2.4 and newer with code 2100 (ErrImportFailed), 2.3.5 without a code."""
_NOT_STARTED = re.compile(
    r"rate limit|quota exceeded|not (ready|healthy|serving)|initializing|recovering", re.IGNORECASE
)
"""Errors after which the job does not exist. Other transient errors leave open whether another part of the server
started it."""
_MAX_FILES = 1000  # in one job; Milvus takes 1,024 (dataCoord.import.maxImportFileNumPerReq)
_REST_PATH = "/v2/vectordb/jobs/import/"


class JobState(Enum):
    """A job's state. FORGOTTEN: it ended hours ago, and the server no longer knows how. UNKNOWN may be anything."""

    UNFINISHED = "unfinished"
    COMPLETED = "completed"
    FAILED = "failed"
    FORGOTTEN = "forgotten"
    UNKNOWN = "unknown"


_STATES = {
    "Pending": JobState.UNFINISHED,
    "Started": JobState.UNFINISHED,
    "Persisted": JobState.UNFINISHED,
    "Completed": JobState.COMPLETED,
    "Failed": JobState.FAILED,
    "Failed and cleaned": JobState.FAILED,
}


class ImportJob(NamedTuple):
    """A job's state, and what the server says about it, in one line."""

    state: JobState
    said: str


class UnansweredError(Exception):
    """The server did not answer a request for a job: the job may exist or not."""


class ImportApi(Protocol):
    """A way to start jobs, of at most `max_files` files."""

    max_files: int

    def start(self, paths: Sequence[str]) -> int:
        """Request a job over these files, by their paths on the server, once, and return its number.

        Raises MilvusError if the server refuses, UnansweredError if it may have received the request.
        """


def import_api(collection: Collection) -> ImportApi:
    """Return the API of this server that takes the most files."""
    rest = _Rest(collection)
    return rest if rest.is_available() else _Grpc(collection)


def job(collection: Collection, number: int) -> ImportJob:
    """Return a job as the server has it now."""
    try:
        answer = _call(collection, "watch the import", "get_bulk_insert_state", number)
    except MilvusError as error:
        if _UNKNOWN_JOB.search(str(error)):
            return ImportJob(JobState.FORGOTTEN, str(error))
        raise
    said = " ".join(str(answer.failed_reason or answer.state_name).split())[:300]
    return ImportJob(_STATES.get(answer.state_name, JobState.UNKNOWN), said)


def count_unfinished(collection: Collection, *, unknown: bool) -> int:
    """Count the jobs of a collection that are under way; with `unknown`, also those in an unknown state."""
    try:
        tasks = _call(collection, "list the imports", "list_bulk_insert_tasks", _MAX_LISTED, collection.name)
    except MilvusError as error:
        if error.__cause__ and error_codes.is_transient(error.__cause__):
            raise
        return 0  # a server without import jobs has no unfinished ones
    wanted = {JobState.UNFINISHED, *({JobState.UNKNOWN} if unknown else set())}
    return sum(_STATES.get(task.state_name, JobState.UNKNOWN) in wanted for task in tasks)


class _Grpc:
    """One file a job, in every version since 2.2."""

    max_files = 1

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def start(self, paths: Sequence[str]) -> int:
        from pymilvus.grpc_gen import milvus_pb2

        message = milvus_pb2.ImportRequest(collection_name=self._collection.name, files=paths)
        connection = self._collection.connection
        # pymilvus' own call repeats the request if no answer comes: a second job over the same file, every row twice.
        return int(_send(connection, connection.request, "Import", message, _REQUEST_TIMEOUT_S).tasks[0])


class _Rest:
    """Many files a job, in Milvus 2.4 and newer."""

    max_files = _MAX_FILES

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def is_available(self) -> bool:
        """Return whether the server has import jobs at this address, and this user may start them."""
        from pymilvus.exceptions import MilvusException
        from requests import RequestException

        connection = self._collection.connection
        if not connection.shown.startswith(("http://", "https://", "tcp://")):
            return False
        try:
            self._post("list", {})
        except (RequestException, MilvusException, ValueError) as error:
            log.debug("no import jobs over REST: %s", error)
            return False
        return True

    def start(self, paths: Sequence[str]) -> int:
        files = {"files": [[path] for path in paths]}
        created = _send(self._collection.connection, self._post, "create", files)
        try:
            return int(created["jobId"])
        except (KeyError, ValueError) as error:
            raise UnansweredError from error

    def _post(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the data of the answer; raises requests' exceptions, and MilvusException if the server refuses."""
        import requests
        from pymilvus.exceptions import MilvusException

        connection, database = self._collection.connection, self._collection.connection.db_name
        # gRPC and REST share the port, and so the certificate.
        authority = os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH") or True
        answer = requests.post(
            connection.shown.replace("tcp://", "http://", 1).rstrip("/") + _REST_PATH + action,
            json={"collectionName": self._collection.name} | ({"dbName": database} if database else {}) | body,
            headers={"DB-Name": database} if database else {}, auth=_bearer_auth(connection.token),
            timeout=_REQUEST_TIMEOUT_S, verify=authority, allow_redirects=False,
        )  # fmt: skip
        if 300 <= answer.status_code < 500:
            raise MilvusException(message=f"HTTP status {answer.status_code}")
        answer.raise_for_status()
        content = answer.json()
        if not isinstance(content, dict) or not isinstance(content.get("data") or {}, dict):
            raise requests.exceptions.InvalidJSONError("this is no answer of Milvus")
        if content.get("code") not in (0, 200):  # 200 in the first releases of 2.4
            raise MilvusException(code=int(content.get("code", 1)), message=str(content.get("message", content)))
        return content.get("data") or {}


def _bearer_auth(token: str) -> Callable[[Any], Any]:
    """Return what authorizes a request; given none, requests would use the credentials in ~/.netrc."""

    def authorize(request: Any) -> Any:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    return authorize


def _send(connection: Connection, function: Any, *args: Any) -> Any:
    """Send a request that must not be sent twice: it is retried only if the server said that it did nothing."""
    import grpc
    from pymilvus.exceptions import MilvusException
    from requests import RequestException

    def once() -> Any:
        try:
            return function(*args)
        except (grpc.RpcError, RequestException) as error:
            raise UnansweredError from error
        except MilvusException as error:
            if error_codes.is_transient(error) and not _NOT_STARTED.search(str(error)):
                raise UnansweredError from error
            raise

    return connection.call("import", once)


def _call(collection: Collection, doing: str, method: str, *args: Any) -> Any:
    # MilvusClient has no import jobs; `utility.do_bulk_insert` has them, but is deprecated, and calls these methods.
    return collection.connection.call(
        doing, collection.connection.direct, method, *args, timeout=_REQUEST_TIMEOUT_S, retry_on_rate_limit=False
    )
