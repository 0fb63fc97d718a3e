"""Reading a collection from a server that hangs: a real one, in a process that is stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from pymilvus.exceptions import MilvusException

from ingest.core.errors import MilvusError
from ingest.milvus import connection as module
from ingest.milvus import error_codes
from ingest.milvus.connection import Connection
from ingest.milvus.pages import pages

SERVER = """
import sys
from milvus_lite.adapter.grpc.server import start_server_in_thread
server, db, port = start_server_in_thread(data_dir=sys.argv[1], host="127.0.0.1", port=0)
print(port, flush=True)
sys.stdin.read()
"""


def read(connection):
    return sum(len(batch) for batch in pages(connection, "shop", ["product_id"], "Strong"))


def test_a_server_that_hangs_is_given_up_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MIN_TRY_S", 1.0)
    command = [sys.executable, "-c", SERVER, str(tmp_path / "milvus.db")]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
        ThreadPoolExecutor(1) as thread,
    ):
        connection = Connection(f"http://127.0.0.1:{server.stdout.readline().strip()}", "", "", max_wait=0.5)
        connection.client.create_collection(
            "shop", dimension=4, primary_field_name="product_id", id_type="string", max_length=8
        )
        connection.client.insert("shop", [{"product_id": str(number), "vector": [1, 0, 0, 0]} for number in range(10)])
        assert read(connection) == 10
        server.send_signal(signal.SIGSTOP)
        try:
            # Left to itself pymilvus waits for more than a minute.
            with pytest.raises(MilvusError, match=r"cannot read all rows of shop: .* does not answer"):
                thread.submit(read, connection).result(timeout=30)
        finally:
            server.send_signal(signal.SIGCONT)
        assert read(connection) == 10
        connection.client.close()
        server.stdin.close()


@pytest.mark.parametrize(
    "said",
    [
        # seen with Milvus 2.3.5, of a query and of a search
        "failed to query delegator 1: worker(1) query failed: query results exceed the limit size : UnknownError",
        "grpc: trying to send message larger than max (131514438 vs. 67108864)",
        # internal/proxy/search_reduce_util.go and internal/querynodev2/segments/result.go of later versions
        "search results exceed the maxOutputSize Limit 104857600",
        "query results exceed the maxOutputSize Limit 104857600",
    ],
)
def test_an_answer_that_would_be_too_large_is_not_waited_for(said):
    error = MilvusException(code=65535, message=said)
    assert error_codes.is_too_large(error)
    assert not error_codes.is_transient(error)
    assert "ask for fewer at once" in error_codes.explain(error, connecting=False, tls=False)
