"""Whether speed and memory stay constant as the catalog grows: 1,000, 10,000 and 100,000 products.

    python benchmarks/scale.py --uri http://localhost:19530 [--folder DRAWN] [--quick] [--json FILE]

Each is an `ingest run` into an empty collection, in its own process, with drawn images of 64 x 64 on disk and the
sample model. Milvus Lite runs inside that process, so only with a server is memory the client's alone. `rate` is the
additional products from one size to the next over the additional time, which leaves the start-up out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import bench
import drawn

SIZES, QUICK_SIZES = (1_000, 10_000, 100_000), (500, 1_000, 3_000)
SIDE = 64


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--uri", default="", help="a Milvus server to write to (default: Milvus Lite)")
    parser.add_argument("--folder", type=Path, help="draw the largest catalog in this folder, or use the one in it")
    arguments = parser.parse_args()
    sizes = QUICK_SIZES if arguments.quick else SIZES
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        drawn.draw(folder, sizes[-1], SIDE)
        rows = [filled(folder, size, arguments.uri) for size in sizes]
    for smaller, row in pairwise(rows):
        row["rate"] = round((row["products"] - smaller["products"]) / (row["seconds"] - smaller["seconds"]), 1)
    ratios = {
        "memory_growth": round(rows[2]["peak_mb"] / rows[1]["peak_mb"], 3),
        "rate_kept": round(rows[2]["rate"] / rows[1]["rate"], 3),
    }
    bench.finish("scale", rows, ratios, arguments.json, ["torch", "transformers", "pymilvus"])


def filled(folder: Path, size: int, uri: str) -> dict[str, Any]:
    """Run over the first `size` products into a new collection; return the process's time and peak memory."""
    if uri:
        drawn.forget(uri)
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryFile() as out:
        flags = ["--catalog", folder / "products.csv", "--sample", size, "--model", drawn.MODEL, "--data", data]
        flags += ["--schema", drawn.schema(Path(data))]
        flags += ["--uri", uri] if uri else []
        command = [sys.executable, "-m", "ingest", "run", "--quiet", "--json", *map(str, flags)]
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=bench.ROOT, stdout=out)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        assert not process.returncode, f"ingest run ended with {process.returncode}"
        out.seek(0)
        summary = json.loads(out.read())
    assert summary["upserted"] == size, summary
    peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)
    return {
        "products": size, "seconds": round(seconds, 2), "pictures_per_s": round(size / seconds, 1), "rate": "",
        "peak_mb": round(peak, 1), "bound_by": summary["bound_by"],
    }  # fmt: skip


if __name__ == "__main__":
    main()
