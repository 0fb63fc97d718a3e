"""How fast images reach the model: the whole line with an encoder that answers at once, and what bounds it.

    python benchmarks/feed.py [--http] [--before CHECKOUT] [--pictures N] [--rounds N] [--quick] [--json FILE]

JPEGs of 800 x 800 and 2,000 x 2,000 that were never seen before: `line` reads the catalog, finds, decodes and stores
them, and packs rows for a server that acknowledges at once. `decode` is the same decoding alone, on one core less than
there are; `dataloader` is torch's DataLoader with Pillow and transformers' preprocessing, a process for each core. With
--http the images come from a server on loopback, 32 at once, and `fetch` downloads them and does nothing else. With
--before, the line of another checkout takes part.

Contestants have started before the clock does, and take turns; a ratio is the median of those within a round. CPU is
the main process', memory that of all processes, each shared page counted once.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import bench
from contestant import Contestant
from embed import photographs

if TYPE_CHECKING:
    from collections.abc import Sequence

SIDES, DIFFERENT, QUALITY = (800, 2000), 60, 90
PROGRAM = "feed_contestants.py"
SAMPLED_S = 0.2
QUICK = 64  # images with --quick
WARM = 8  # images that each contestant has seen before the first round
TAKE_PART = {"local": ("line", "before", "decode", "dataloader"), "http": ("line", "before", "fetch")}
RATIOS = {
    "local": {"of_decode_ceiling": "decode", "vs_dataloader": "dataloader", "vs_before": "before"},
    "http": {"http": "fetch", "vs_before_http": "before"},
}


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--pictures", type=int, default=5_000, help="JPEGs of each size (default: 5,000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant (default: 3)")
    parser.add_argument("--http", action="store_true", help="also from a server on loopback, with 32 downloads")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="compare with the line of this checkout")
    options = parser.parse_args()
    count, rounds = (QUICK, 1) if options.quick else (options.pictures, options.rounds)
    sides = SIDES[:1] if options.quick else SIDES
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        catalogs = {("local", side): write_images(folder / str(side), side, count) for side in sides}
        if options.http:
            catalogs |= {("http", side): served(stack, catalogs["local", side]) for side in sides}
        names = [one for one in dict.fromkeys(one for source, _ in catalogs for one in TAKE_PART[source])
                 if one != "before" or options.before]  # fmt: skip
        contestants = started(stack, names, folder, options.before)
        rows: list[bench.Row] = [
            {"what": one, "from": source, "side": side, "round": turn, **contestants[one](catalog, count)}
            for turn in range(rounds)
            for (source, side), catalog in catalogs.items()
            for one in rotated([one for one in names if one in TAKE_PART[source]], turn)
        ]
    bench.finish("feed", rows, ratios(rows), options.json, ("torch", "transformers", "Pillow", "simplejpeg"))


def started(stack: ExitStack, names: list[str], folder: Path, before: Path | None) -> dict[str, FeedContestant]:
    """Start the contestants, all at the same time, and let each see a few images."""
    model, warm = write_model(folder / "model"), write_images(folder / "warm", SIDES[0], WARM)
    processes = [FeedContestant(one, model, before) for one in names]
    found = {one: stack.enter_context(process) for one, process in zip(names, processes, strict=True)}
    for contestant in processes:
        contestant(warm, WARM)
    return found


def rotated(names: list[str], turn: int) -> list[str]:
    """Return the names, another one first in each turn."""
    at = turn % len(names)
    return names[at:] + names[:at]


def ratios(rows: Sequence[bench.Row]) -> dict[str, bench.Figure]:
    """Return the figures that docs/benchmarks.md sets goals for, for each source and side."""
    found: dict[str, bench.Figure] = {}
    for source, side in dict.fromkeys((row["from"], row["side"]) for row in rows):
        size = "" if side == SIDES[0] else f"_{side}"
        here = [row for row in rows if (row["from"], row["side"]) == (source, side)]
        for name, other in RATIOS[str(source)].items():
            if values := [line / rate for line, rate in zip(rates(here, "line"), rates(here, other), strict=False)]:
                found[name + size] = round(statistics.median(values), 3)
        for name in ("main_us_per_picture", "peak_mb"):
            found[name + ("_http" if source == "http" else "") + size] = bench.median(here, name, what="line")
    return found


def rates(rows: Sequence[bench.Row], what: str) -> list[float]:
    """Return a contestant's images a second, by round."""
    return [float(row["pictures_per_s"]) for row in rows if row["what"] == what]


class FeedContestant:
    """A contestant that works through catalogs on demand; as a context manager it ends with the block."""

    def __init__(self, name: str, model: Path, before: Path | None) -> None:
        self._name = name
        checkout = before if before and name == "before" else bench.ROOT
        self._process = Contestant(PROGRAM, "line" if name == "before" else name, str(model), checkout=checkout)

    def __enter__(self) -> Self:
        self._process.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.__exit__()

    def __call__(self, catalog: Path, count: int) -> dict[str, float]:
        """Work through the catalog, nothing known of it before; return rate, CPU and memory."""
        with tempfile.TemporaryDirectory() as output, PeakMemory(self._process.pid) as memory:
            done = self._process.ask([str(catalog), output])
        if done["images"] != count:
            raise SystemExit(f"{self._name}: {done['images']} images came out of {count}")
        return {
            "pictures_per_s": round(count / done["seconds"], 1),
            "main_us_per_picture": round(done["cpu_s"] / count * 1e6, 1),
            "peak_mb": memory.peak_mb,
        }


class PeakMemory:
    """The most memory that a process and its descendants have at once during the block, in MB; 0 except on Linux."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.peak_mb = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(SAMPLED_S):
            self.peak_mb = max(self.peak_mb, round(sum(map(proportional_kb, family(self._pid))) / 1024, 1))


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    found, new = [pid], [pid]
    while new:
        children = [path for one in new for path in Path(f"/proc/{one}/task").glob("*/children")]
        new = [int(child) for path in children for child in text(path).split()]
        found += new
    return found


def proportional_kb(pid: int) -> int:
    lines = text(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # the process has ended
        return ""


def write_model(folder: Path) -> Path:
    """Write what is read of a ViT-B/32 before it is loaded; its weights are never loaded."""
    shutil.copytree(bench.ROOT / "data" / "models" / "sample-clip", folder)
    for name, changed in (
        ("preprocessor_config.json", {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}),
        ("config.json", {"projection_dim": 512}),
    ):
        config = json.loads((folder / name).read_text(encoding="utf-8")) | changed
        if name == "config.json":
            config["vision_config"] |= {"image_size": 224, "patch_size": 32}
        (folder / name).write_text(json.dumps(config), encoding="utf-8")
    return folder


def write_images(folder: Path, side: int, count: int) -> Path:
    """Write JPEGs cut from photographs, no two of the same bytes, their digests, and a catalog of them."""
    folder.mkdir()
    different = [jpeg(photograph) for photograph in photographs(side, min(count, DIFFERENT))]
    digests = {}
    for number in range(count):
        content = with_comment(different[number % len(different)], number)
        digests[f"p{number:05d}.jpg"] = hashlib.sha256(content).hexdigest()
        (folder / f"p{number:05d}.jpg").write_bytes(content)
    (folder / "digests.json").write_text(json.dumps(digests), encoding="utf-8")
    return write_catalog(folder / "products.csv", list(digests))


def jpeg(photograph: Any) -> bytes:
    stream = io.BytesIO()
    photograph.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def with_comment(content: bytes, number: int) -> bytes:
    """Return a JPEG with its number in a comment behind the first segment."""
    at = 4 + int.from_bytes(content[4:6], "big")
    return content[:at] + b"\xff\xfe\0\x0a" + b"%08d" % number + content[at:]


def write_catalog(path: Path, images: list[str]) -> Path:
    rows = "".join(
        f"P{number:05d},{image},Product {number} of the season,category {number % 40},{number % 100}.90\n"
        for number, image in enumerate(images)
    )
    path.write_text(f"product_id,image,title,category,price\n{rows}", encoding="utf-8")
    return path


def served(stack: ExitStack, catalog: Path) -> Path:
    """Serve a catalog's images from another process until the stack closes; return a catalog of their addresses."""
    program = [sys.executable, str(Path(__file__).with_name("file_server.py")), str(catalog.parent)]
    server = stack.enter_context(subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    stack.callback(server.kill)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    images = [f"http://127.0.0.1:{port}/{path.name}" for path in sorted(catalog.parent.glob("*.jpg"))]
    return write_catalog(catalog.with_name("urls.csv"), images)


if __name__ == "__main__":
    main()
