"""How long `ingest --help` and other first answers take, compared with `import click` and a peer's --help.

    python benchmarks/startup.py [--clip-retrieval /tmp/peer/bin/clip-retrieval] [--quick] [--json FILE]

Each is a new process, in turns, timed from start to end; the first turn is not counted.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench

ROUNDS, QUICK_ROUNDS = 15, 5
PEER_ROUNDS = 3
INGEST = [sys.executable, "-c", "from ingest.cli.main import main; main()"]
PROGRAMS = {
    "import click": [sys.executable, "-c", "import click"],
    "ingest --help": [*INGEST, "--help"],
    "ingest run --help": [*INGEST, "run", "--help"],
    "ingest status": [*INGEST, "status"],
}


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument(
        "--clip-retrieval", type=Path, metavar="PROGRAM", help="clip-retrieval in a separate virtual environment"
    )
    arguments = parser.parse_args()
    rounds = QUICK_ROUNDS if arguments.quick else ROUNDS
    peer = "clip-retrieval --help"
    with tempfile.TemporaryDirectory() as folder:
        measured = [(name, took(command, folder)) for _ in range(rounds + 1) for name, command in PROGRAMS.items()]
        measured = measured[len(PROGRAMS) :]
        if arguments.clip_retrieval:
            command = [str(arguments.clip_retrieval), "--help"]
            measured += [(peer, took(command, folder)) for _ in range(PEER_ROUNDS + 1)][1:]
    runs: list[bench.Row] = [{"what": name, "seconds": seconds} for name, seconds in measured]
    medians = {name: bench.median(runs, "seconds", what=name) for name, _ in measured}
    rows: list[bench.Row] = [{"what": name, "seconds": round(seconds, 4)} for name, seconds in medians.items()]
    ratios = {"help_over_click_s": round(medians["ingest --help"] - medians["import click"], 4)}
    if peer in medians:
        ratios["vs_clip_retrieval"] = round(medians[peer] / medians["ingest --help"], 1)
    bench.finish("startup", rows, ratios, arguments.json, ["click"])


def took(command: list[str], folder: str) -> float:
    """Run a command in an empty folder, where `ingest status` finds nothing and says so; return the seconds."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(bench.ROOT), environment.get("PYTHONPATH")]))
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
