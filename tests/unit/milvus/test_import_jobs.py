"""Import jobs over REST, with a real HTTP server on this machine that records its requests."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from ingest.core.errors import MilvusError
from ingest.milvus import import_jobs
from ingest.milvus.connection import Connection

LIST, CREATE = (f"/v2/vectordb/jobs/import/{action}" for action in ("list", "create"))


@contextmanager
def serving(answers):
    """Serve JSON answers, (status, content) by path; None closes the connection. Yields the port and the requests."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, dict(self.headers), body))
            if (answer := answers.get(self.path, (404, {}))) is None:
                return
            status, content = answer
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1], asked
        server.shutdown()


def collection(port, token="", database=""):
    """Return a collection of a server, with a real connection that has no client."""
    connection = Connection.__new__(Connection)
    connection.shown, connection.token, connection.db_name = f"http://127.0.0.1:{port}", token, database
    connection._max_wait, connection._stop, connection._secrets, connection.is_lite = 0, threading.Event(), [], False
    return SimpleNamespace(connection=connection, name="products_1")


def test_many_files_are_one_job_in_the_database_and_under_the_name_of_the_user():
    with serving({LIST: (200, {"code": 0, "data": {}}), CREATE: (200, {"code": 0, "data": {"jobId": "461"}})}) as (
        port,
        asked,
    ):
        api = import_jobs.import_api(collection(port, "root:Milvus", "shop"))
        assert api.max_files > 100
        assert api.start(["/import/a.parquet", "/import/b.parquet"]) == 461
    assert [path for path, _, _ in asked] == [LIST, CREATE]
    for _, headers, body in asked:
        assert headers["Authorization"] == "Bearer root:Milvus"
        assert (body["dbName"], body["collectionName"]) == ("shop", "products_1")
    assert asked[1][2]["files"] == [["/import/a.parquet"], ["/import/b.parquet"]]


@pytest.mark.parametrize(
    "answer",
    [(404, {}), (200, {"code": 1800, "message": "user hasn't authenticated"}), (200, {}), (302, {}), None],
    ids=["2.3 has none", "refused", "something else", "a redirect", "no answer"],
)
def test_a_server_without_them_takes_a_file_for_each_job_by_grpc(answer):
    with serving({LIST: answer}) as (port, _):
        assert import_jobs.import_api(collection(port)).max_files == 1


def test_a_refusal_has_the_servers_words():
    refusal = {"code": 1100, "message": "the file is empty: invalid parameter"}
    with serving({LIST: (200, {"code": 0}), CREATE: (200, refusal)}) as (port, _):
        api = import_jobs.import_api(collection(port))
        with pytest.raises(MilvusError, match="cannot import: the file is empty: invalid parameter"):
            api.start(["/import/a.parquet"])


@pytest.mark.parametrize("answer", [None, (502, {})], ids=["closed", "a gateway's"])
def test_a_request_without_an_answer_is_not_repeated(answer):
    with serving({LIST: (200, {"code": 0}), CREATE: answer}) as (port, asked):
        api = import_jobs.import_api(collection(port))
        with pytest.raises(import_jobs.UnansweredError):
            api.start(["/import/a.parquet"])
    assert [path for path, _, _ in asked] == [LIST, CREATE]
