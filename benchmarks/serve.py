"""Searches per second of `ingest serve`, and their latency, for 1, 8 and 64 clients at once.

    python benchmarks/serve.py [--quick] [--json FILE] [--uri http://localhost:19530]

With the sample catalog and the sample model. Each client sends one text after another over its own connection. Clients
and service share the machine.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import bench

ROOT = Path(__file__).parents[1]
CLIENTS = (1, 8, 64)
WORDS = (
    "red",
    "blue",
    "green",
    "striped",
    "dotted",
    "checked",
    "plain",
    "mug",
    "vase",
    "lamp",
    "chair",
    "dress",
    "cap",
)


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--uri", default="", help="a Milvus server (default: Milvus Lite)")
    arguments = parser.parse_args()
    seconds, rounds = (2.0, 1) if arguments.quick else (8.0, 3)
    with tempfile.TemporaryDirectory(prefix="ingest-bench-") as folder:
        where = ["--data", f"{folder}/data", *(["--uri", arguments.uri] if arguments.uri else [])]
        command = [sys.executable, "-m", "ingest"]
        subprocess.run([*command, "run", "--quiet", *where], cwd=ROOT, check=True, capture_output=True)
        service = subprocess.Popen(
            [*command, "serve", "--port", "0", *where], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        try:
            port = _port(service)
            _asked(port, 8, 1.0)  # warm
            rows = [{"clients": clients, **_asked(port, clients, seconds)}
                    for _ in range(rounds) for clients in CLIENTS]  # fmt: skip
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(30)
    one, many = (bench.median(rows, "queries/s", clients=clients) for clients in (CLIENTS[0], CLIENTS[-1]))
    ratios = {"64 clients / 1, queries/s": many / one, "errors": float(sum(row["errors"] for row in rows))}
    packages = ("torch", "pymilvus", "milvus-lite", "fastapi", "starlette", "uvicorn")
    bench.finish("serve", rows, ratios, arguments.json, packages)


def _port(service: subprocess.Popen[str]) -> int:
    assert service.stderr is not None
    for line in service.stderr:
        if "serving at" in line:
            threading.Thread(target=service.stderr.read, daemon=True).start()
            return int(line.split("serving at http://")[1].split("/")[0].rpartition(":")[2])
    raise SystemExit("ingest serve did not start")


def _asked(port: int, clients: int, seconds: float) -> dict[str, Any]:
    """Run `clients` for some seconds; return queries per second, latencies in milliseconds, and errors."""
    taken: list[float] = []
    errors = itertools.count()
    ends = time.perf_counter() + seconds

    def ask(number: int) -> None:
        chance = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while (began := time.perf_counter()) < ends:
            text = " ".join(chance.choices(WORDS, k=3))
            body = json.dumps({"text": text, "limit": 10})
            connection.request("POST", "/v1/search", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = json.loads(answer.read())
            if answer.status != 200 or len(content["hits"]) != 10:
                next(errors)
            taken.append(time.perf_counter() - began)
        connection.close()

    began = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - began
    cuts = statistics.quantiles(taken, n=100)
    return {
        "queries/s": len(taken) / wall, "p50 ms": 1000 * cuts[49], "p95 ms": 1000 * cuts[94], "p99 ms": 1000 * cuts[98],
        "errors": next(errors),
    }  # fmt: skip


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
