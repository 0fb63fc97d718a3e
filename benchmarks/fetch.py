"""Fetching images, compared with img2dataset: images per second, CPU, memory, and what arrived.

    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install img2dataset
    python benchmarks/fetch.py --img2dataset /tmp/peer/bin/img2dataset --json fetch.json

Both fetch the same JPEGs of 30 kB from a server process on loopback, 32 at once, and keep the bytes as they are
(img2dataset with `--disable_all_reencoding`, its cheapest mode). Then again with 20 ms latency and 2 % of the images
answering 503 until the first run is over. CPU time is that of the tool and its children, from their start, without the
server's; memory is the peak of one process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
AT_ONCE = 32
SETTINGS = {"loopback": (0, 0), "20 ms, 2 % failing": (20, 2)}


@dataclass(frozen=True)
class Run:
    """One run of one tool; `arrived` is the number of images on disk afterwards."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    arrived: int
    pictures_per_second: float
    pictures_per_cpu_second: float


def main() -> None:
    """Run both tools, print a table, and write the JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=5_000)
    parser.add_argument("--quick", action="store_true", help="a tenth of the images")
    parser.add_argument("--img2dataset", default=shutil.which("img2dataset"), help="the program to compare with")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the one with the least CPU time counts")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    pictures = options.pictures // 10 if options.quick else options.pictures
    tools = {"ingest": ingest, "img2dataset": img2dataset}
    if options.img2dataset is None:
        print("img2dataset was not found: install it into a separate venv, and name it with --img2dataset")
        del tools["img2dataset"]
    results: dict[str, Any] = {
        "pictures": pictures,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "settings": {},
    }
    for setting, (latency_ms, failing) in SETTINGS.items():
        found: dict[str, dict[str, Any]] = {}
        results["settings"][setting] = found
        for _ in range(options.repeat):
            for tool, command in tools.items():  # in turns, so that other load on the machine affects both
                first, second = measured(command, options.img2dataset, pictures, latency_ms, failing)
                known = found.get(tool)
                if known is None or first.cpu_seconds < known["first"]["cpu_seconds"]:
                    found[tool] = {"first": asdict(first), "second": asdict(second)}
    plain = results["settings"]["loopback"]
    if "img2dataset" in plain:
        ours, theirs = (plain[tool]["first"]["pictures_per_cpu_second"] for tool in ("ingest", "img2dataset"))
        results["vs_img2dataset_cpu"] = round(ours / theirs, 2)
    healed = results["settings"]["20 ms, 2 % failing"]["ingest"]["second"]["arrived"]
    results["healed_after_second_run"] = healed / pictures
    show(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def measured(command: Any, peer: str, pictures: int, latency_ms: int, failing: int) -> tuple[Run, Run]:
    """Run a tool twice over the same catalog and folder; for the second run the server answers every request."""
    with tempfile.TemporaryDirectory() as name, served(latency_ms, failing) as base:
        folder = Path(name)
        urls = [f"{base}/{number}.jpg" for number in range(pictures)]
        rows = "".join(f"P{number},{url}\n" for number, url in enumerate(urls))
        (folder / "products.csv").write_text(f"product_id,image\n{rows}", encoding="utf-8")
        (folder / "urls.txt").write_text("\n".join(urls), encoding="utf-8")
        first = timed(command(folder, peer), folder)
        urllib.request.urlopen(f"{base}/heal").close()  # noqa: S310  our own server
        return first, timed(command(folder, peer), folder)


def ingest(folder: Path, _peer: str) -> list[str]:
    """Return the command of ingest, with one try per image, as img2dataset does it."""
    flags = f"--allow-private --download-workers {AT_ONCE} --download-per-host {AT_ONCE} --download-tries 1 --quiet"
    places = ["--catalog", str(folder / "products.csv"), "--data", str(folder / "data")]
    return [sys.executable, "-m", "ingest", "fetch", *places, *flags.split()]


def img2dataset(folder: Path, peer: str) -> list[str]:
    """Return the command of img2dataset."""
    flags = (
        "--output_format files --resize_mode no --disable_all_reencoding True "
        f"--processes_count 1 --thread_count {AT_ONCE}"
    )
    places = ["--url_list", str(folder / "urls.txt"), "--output_folder", str(folder / "data")]
    return [peer, *places, *flags.split()]


def timed(command: list[str], folder: Path) -> Run:
    """Run a command to its end, and measure it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_ALBUMENTATIONS_UPDATE": "1"}
    before, began = _cpu(), time.perf_counter()
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    seconds, cpu = time.perf_counter() - began, _cpu() - before
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} failed: {(folder / 'log').read_text()[-2000:]}")
    arrived = sum(1 for _ in (folder / "data").rglob("*.jpg"))
    rate, cpu_rate = round(arrived / seconds, 1), round(arrived / cpu, 1)
    return Run(round(seconds, 2), round(cpu, 2), round(usage.ru_maxrss / 1024, 1), arrived, rate, cpu_rate)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def served(latency_ms: int, failing: int) -> Iterator[str]:
    """Run the server during the block; yield its address."""
    program = [sys.executable, str(Path(__file__).with_name("image_server.py")), str(latency_ms), str(failing)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def show(results: dict[str, Any]) -> None:
    """Print a Markdown table."""
    print(f"{results['pictures']:,} JPEGs of 30 kB, {AT_ONCE} at once; {results['machine']}; {results['date']}\n")
    print("| server | tool | pictures/s | pictures/CPU s | peak MB | after one run | after a second |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for setting, tools in results["settings"].items():
        for tool, runs in tools.items():
            first, second = runs["first"], runs["second"]
            print(
                f"| {setting} | {tool} | {first['pictures_per_second']:,.0f} | {first['pictures_per_cpu_second']:,.0f} "
                f"| {first['peak_mb']:,.0f} | {first['arrived']:,} | {second['arrived']:,} |"
            )
    if "vs_img2dataset_cpu" in results:
        print(f"\nvs_img2dataset_cpu: {results['vs_img2dataset_cpu']}")


if __name__ == "__main__":
    main()
