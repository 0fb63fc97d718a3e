"""The server's import jobs: asking for one, how one stands, and whether any is under way.

Milvus 2.4 and newer take many files for a job over REST, on the port of all other calls; 2.3 has no such address
(404), and by gRPC every version takes one file. How jobs stand is asked by gRPC: the states are the same, and the
number of a job means the same job. A list of jobs tells their states alone since 2.4, without numbers
(convertToV1ListImportResponse in Milvus' internal/proxy).
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

_ASK_S = 20.0  # a request notes a job, or tells of one, and no more: longer is a connection that went silent
_LISTED = 1000
_UNKNOWN_JOB = re.compile(r"import job does not exist|key not found\[key=\S*importtask")
"""What Milvus says of a job that it does not know: 2.4 and newer with code 2100 (ErrImportFailed), 2.3.5 with none."""
_NOT_BEGUN = re.compile(r"rate limit|quota exceeded|not (ready|healthy|serving)|initializing|recovering", re.IGNORECASE)
"""What a server says that has not done what it was asked. Of another part that it did not hear from in time, it cannot
tell: the job may exist."""
_FILES = 1000  # of one job; Milvus takes 1,024 (dataCoord.import.maxImportFileNumPerReq)
_IMPORTS = "/v2/vectordb/jobs/import/"


class JobState(Enum):
    """How a job stands. FORGOTTEN ended hours ago, and the server no longer knows how; UNKNOWN may be anything."""

    UNFINISHED = "unfinished"
    COMPLETED = "completed"
    FAILED = "failed"
    FORGOTTEN = "forgotten"
    UNKNOWN = "unknown"


_STANDINGS = {
    "Pending": JobState.UNFINISHED,
    "Started": JobState.UNFINISHED,
    "Persisted": JobState.UNFINISHED,
    "Completed": JobState.COMPLETED,
    "Failed": JobState.FAILED,
    "Failed and cleaned": JobState.FAILED,
}


class ImportJob(NamedTuple):
    """How a job stands, and what the server says of it, in one line."""

    standing: JobState
    said: str


class UnansweredError(Exception):
    """A job was asked for and no answer came: it may exist or not."""


class ImportApi(Protocol):
    """A way to ask for a job, with `most` files."""

    most: int

    def ask(self, paths: Sequence[str]) -> int:
        """Ask once for a job over these files, paths of the server, and return its number.

        Raises MilvusError if the server refuses, UnansweredError if it may have heard and gave no answer.
        """


def import_api(collection: Collection) -> ImportApi:
    """Return the way that takes the most files."""
    rest = _Rest(collection)
    return rest if rest.is_there() else _Grpc(collection)


def job(collection: Collection, number: int) -> ImportJob:
    """Ask how a job stands."""
    try:
        state = _call(collection, "watch the import", "get_bulk_insert_state", number)
    except MilvusError as error:
        if _UNKNOWN_JOB.search(str(error)):
            return ImportJob(JobState.FORGOTTEN, str(error))
        raise
    said = " ".join(str(state.failed_reason or state.state_name).split())[:300]
    return ImportJob(_STANDINGS.get(state.state_name, JobState.UNKNOWN), said)


def count_unfinished(collection: Collection, *, unknown: bool) -> int:
    """Count the jobs of a collection that are under way; with `unknown` those too of which one cannot tell."""
    try:
        tasks = _call(collection, "list the imports", "list_bulk_insert_tasks", _LISTED, collection.name)
    except MilvusError as error:
        if error.__cause__ and error_codes.is_transient(error.__cause__):
            raise
        return 0  # a server without import jobs has none that are unfinished
    wanted = {JobState.UNFINISHED, *({JobState.UNKNOWN} if unknown else set())}
    return sum(_STANDINGS.get(task.state_name, JobState.UNKNOWN) in wanted for task in tasks)


class _Grpc:
    """A file for each job, as in every version since 2.2."""

    most = 1

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def ask(self, paths: Sequence[str]) -> int:
        from pymilvus.grpc_gen import milvus_pb2

        message = milvus_pb2.ImportRequest(collection_name=self._collection.name, files=paths)
        connection = self._collection.connection
        # pymilvus' own call is sent again if no answer comes: a second job over the same file, and every row twice.
        return int(_send(connection, connection.request, "Import", message, _ASK_S).tasks[0])


class _Rest:
    """Many files for a job: Milvus 2.4 and newer."""

    most = _FILES

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def is_there(self) -> bool:
        """Tell whether the server has import jobs at this address, open to this user."""
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

    def ask(self, paths: Sequence[str]) -> int:
        files = {"files": [[path] for path in paths]}
        created = _send(self._collection.connection, self._post, "create", files)
        try:
            return int(created["jobId"])
        except (KeyError, ValueError) as error:
            raise UnansweredError from error

    def _post(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer's data; raises requests' exceptions, and MilvusException if the server refuses."""
        import requests
        from pymilvus.exceptions import MilvusException

        connection, database = self._collection.connection, self._collection.connection.db_name
        # The authority that gRPC trusts signed the certificate of this port too.
        authority = os.environ.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH") or True
        answer = requests.post(
            connection.shown.replace("tcp://", "http://", 1).rstrip("/") + _IMPORTS + action,
            json={"collectionName": self._collection.name} | ({"dbName": database} if database else {}) | body,
            headers={"DB-Name": database} if database else {}, auth=_bearer(connection.token), timeout=_ASK_S,
            verify=authority, allow_redirects=False,
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


def _bearer(token: str) -> Callable[[Any], Any]:
    """Return what signs a request; without it requests would sign by ~/.netrc."""

    def sign(request: Any) -> Any:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign


def _send(connection: Connection, function: Any, *args: Any) -> Any:
    """Send what must not be sent twice; again only if the server said that it has not done it."""
    import grpc
    from pymilvus.exceptions import MilvusException
    from requests import RequestException

    def once() -> Any:
        try:
            return function(*args)
        except (grpc.RpcError, RequestException) as error:
            raise UnansweredError from error
        except MilvusException as error:
            if error_codes.is_transient(error) and not _NOT_BEGUN.search(str(error)):
                raise UnansweredError from error
            raise

    return connection.call("import", once)


def _call(collection: Collection, doing: str, method: str, *args: Any) -> Any:
    # MilvusClient has no import jobs of its own; `utility.do_bulk_insert`, which has, is deprecated and calls these.
    return collection.connection.call(
        doing, collection.connection.direct, method, *args, timeout=_ASK_S, retry_on_rate_limit=False
    )
