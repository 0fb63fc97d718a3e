"""Milvus' REST v2, as far as import jobs go: `POST /v2/vectordb/jobs/import/{create,describe,get_progress,list}`.

Of internal/distributed/proxy/httpserver/handler_v2.go, read at 2.4.13 and 3.0.0: job ids are texts, an error is a 200
with its code in the body, and a path that a version lacks is a 404.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from milvus_versions.standin import imports
from milvus_versions.standin.catalog import DEFAULT
from milvus_versions.standin.refusal import RefusalError, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from milvus_versions.standin.server import Server

_JOBS = "/v2/vectordb/jobs/import/"


@contextmanager
def rest(server: Server) -> Iterator[int]:
    """Serve REST on a loopback port, until the block's end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            user, _, password = self.headers.get("Authorization", "").removeprefix("Bearer ").partition(":")
            status, answer = _answered(server, self.path, body, user, password)
            self._send(status, answer)

        def do_GET(self) -> None:
            seen = [[one.method, one.in_body, one.in_metadata] for one in server.requests()]
            self._send(*((200, seen) if self.path == "/standin/requests" else (404, {})))

        def _send(self, status: int, answer: Any) -> None:
            raw = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield http.server_address[1]
        finally:
            http.shutdown()
            thread.join()


def _answered(server: Server, path: str, body: dict[str, Any], user: str, password: str) -> tuple[int, Any]:
    operation = _OPERATIONS.get(path.removeprefix(_JOBS)) if path.startswith(_JOBS) else None
    database = body.get("dbName", DEFAULT)
    server.note(f"POST {path}", body.get("dbName", ""), "", user, body)
    if operation is None or not server.dialect.has_rest_v2:
        return 404, "404 page not found"
    if server.users and server.users.get(user) != password:
        return 401, {"code": 1800, "message": "user hasn't authenticated"}
    if server.users and user in server.grants and database not in server.grants[user]:
        return 403, {"code": 65535, "message": f"Import: permission deny to {user} in the `{database}` database"}
    try:
        with server.catalog.lock:
            server.catalog.database(database)
            return 200, {"code": 0, "data": operation(server, database, body)}
    except RefusalError as refusal:
        return 200, {"code": refusal.code, "message": str(refusal)}


def _create(server: Server, database: str, body: dict[str, Any]) -> Any:
    files = [path for paths in body.get("files", []) for path in paths]
    return {"jobId": str(imports.submit(server, database, body.get("collectionName", ""), files).number)}


def _describe(server: Server, _: str, body: dict[str, Any]) -> Any:
    if not str(body.get("jobId", "")).isdigit():
        raise invalid(f"parse job id failed: {body.get('jobId')}")
    job = imports.found(server, int(body["jobId"]))
    progress = {
        "jobId": str(job.number), "collectionName": job.collection, "completeTime": "", "state": job.state,
        "progress": 100 if job.state == imports.COMPLETED else 10, "importedRows": job.rows, "totalRows": job.rows,
        "fileSize": 0, "details": [],
    }  # fmt: skip
    return progress | ({"reason": job.failed} if job.failed else {})


def _list(server: Server, database: str, body: dict[str, Any]) -> Any:
    records = [
        {
            "jobId": str(job.number),
            "collectionName": job.collection,
            "state": job.state,
            "progress": 100 if job.done else 10,
        }
        | ({"reason": job.failed} if job.failed else {})
        for job in imports.listed(server, database, body.get("collectionName", ""))
    ]
    return {"records": records}


_OPERATIONS: dict[str, Callable[[Server, str, dict[str, Any]], Any]] = {
    "create": _create, "describe": _describe, "get_progress": _describe, "list": _list,
}  # fmt: skip
