"""On one GPU: the whole line beside the forward pass, the decoding, and what others do; no network is needed.

    python benchmarks/gpu.py [--budget-s SECONDS] [--pictures N] [--rounds N] [--folder FOLDER] [--quick] [--json FILE]

CLIP ViT-B/32 and ViT-L/14 with random weights (the text towers are small: no text is embedded) and JPEGs of 800 x 800
and 2,000 x 2,000, all made here. `line` is a first run over local files, from the catalog to a server that acknowledges
at once. What is measured is loaded before the clock starts, and takes turns; a ratio is the median of those within a
round. A round that would not fit into the budget is left out, and what a cut run measured is in the JSON file. Without
a GPU the same is measured on the CPU.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import bench
from contestant import Contestant, ContestantError
from embed import SHAPES, write_model
from feed import rotated, write_catalog, write_images
from feed import write_model as write_steps
from gpu_contestants import CONTESTANTS
from gpu_figures import LABELS, MISSING, MODELS, OF_THE_MODEL, RATIOS, SIDES, ratios, show

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

PROGRAM = "gpu_contestants.py"
PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "Pillow",
    "simplejpeg",
    "numpy",
    "pymilvus",
    "sentence-transformers",
)
SMALL = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
WARM = 8  # images that every contestant has seen before the first round
SHARES = {"line_threads": 2, "dataloader": 2, "hand_loop": 64, "sentence_transformers": 64}  # slow: fewer images
FEWEST = 4
JPEG_BYTES, MODEL_BYTES = (140_000, 550_000), 2_000_000_000
RESERVED_S = 10.0  # of the budget, for ending


class Scale(NamedTuple):
    """How much is measured: JPEGs of 800 x 800 and of 2,000 x 2,000, and `seconds` for each of `forward`'s batches."""

    pictures: int
    large: int
    rounds: int
    batches: tuple[int, ...]
    seconds: float
    loader_batch: int


class Cell(NamedTuple):
    """One figure of a round."""

    what: str
    model: str
    side: int
    batch: int = 0


QUICK = Scale(64, 8, 1, (4, 8), 0.1, 16)
ON_CPU = Scale(256, 64, 3, (16,), 2.0, 16)
ON_GPU = Scale(16_384, 4_096, 3, (32, 64, 128, 256, 512), 1.0, 128)


def main() -> None:
    parser = bench.parser(__doc__)
    parser.add_argument("--budget-s", type=float, default=600, metavar="SECONDS", help="end by then (default: 600)")
    parser.add_argument(
        "--pictures", type=int, help="JPEGs of 800 x 800, and a quarter of the larger (default: 16,384)"
    )
    parser.add_argument("--rounds", type=int, help="turns of each contestant (default: 3)")
    parser.add_argument("--folder", type=Path, help="where to put models and images (default: in memory, if they fit)")
    options = parser.parse_args()
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was written into memory goes with the run
    device = describe_device()
    print(device["first line"], flush=True)
    scale = QUICK if options.quick else ON_GPU if device["cuda"] else ON_CPU
    if options.pictures:
        scale = scale._replace(pictures=options.pictures, large=max(1, options.pictures // 4))
    scale = scale._replace(rounds=options.rounds or scale.rounds)
    with ExitStack() as stack:
        names = [name for name in CONTESTANTS if name != "sentence_transformers" or importlib.util.find_spec(name)]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder or roomy_folder(scale))))
        processes = {name: Contestant(PROGRAM, name) for name in names}  # import torch while the images are drawn
        for process in processes.values():
            stack.callback(process.__exit__)
        run = Run(options, begun, scale, folder, device)
        run.start(processes)
        try:
            run.measure()
        finally:  # also of a run that is cut off
            print(show(run.rows), flush=True)


def describe_device() -> dict[str, Any]:
    """Return the device's name, the dtype and whether it is a GPU, and the line that says so."""
    sys.path.insert(0, str(bench.ROOT))  # also where ingest is not installed
    from ingest.embedding.device import import_torch, pick_device, pick_dtype

    torch = import_torch()
    cuda = torch.cuda.is_available()
    name = torch.cuda.get_device_name(0) if cuda else "CPU"
    found = {"cuda": cuda, "device": name, "dtype": pick_dtype("auto", pick_device("auto"))}
    said = f"device: {name}" if cuda else "no CUDA device, so this is measured on the CPU"
    return found | {"first line": f"{said}; {found['dtype']}, {bench.machine()['cores']} cores"}


def roomy_folder(scale: Scale) -> str | None:
    """Return the folder of files in memory, if there is one with room for twice what is written; else the default."""
    needed = 2 * (scale.pictures * JPEG_BYTES[0] + scale.large * JPEG_BYTES[1] + MODEL_BYTES)
    memory = Path("/dev/shm")  # noqa: S108  a TemporaryDirectory is made in it
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > needed else None


class Run:
    """The contestants, what they work on, and what was measured until now."""

    def __init__(
        self, options: argparse.Namespace, begun: float, scale: Scale, folder: Path, device: dict[str, Any]
    ) -> None:
        self._json: Path | None = options.json
        self._begun, self._end = begun, begun + options.budget_s - RESERVED_S
        self._scale, self._folder = scale, folder
        self._machine = bench.machine(*PACKAGES) | {"folder": str(folder.parent)} | device
        tiny = {"projection_dim": 64, "vision_config": SMALL}
        self._shapes = {name: {**(tiny if options.quick else SHAPES[name]), "text_config": SMALL} for name in MODELS}
        self._contestants: dict[str, Contestant] = {}
        self._models: dict[str, Path] = {}
        self._catalogs: dict[int, Path] = {}
        self._parts: dict[tuple[int, int], tuple[Path, int]] = {}
        self._broken: set[tuple[str, str]] = set()
        self.rows: list[bench.Row] = []

    def start(self, processes: dict[str, Contestant]) -> None:
        """Write models and images, and let each contestant load and see a few of them."""
        for name, shape in self._shapes.items():
            self._models[name] = write_model(self._folder / name.replace("/", "-"), shape)
            self._say(f"wrote {name}")
        self._models["decode"] = write_steps(self._folder / "steps")
        for side, count in ((0, WARM), (SIDES[0], self._scale.pictures), (SIDES[1], self._scale.large)):
            self._catalogs[side] = write_images(self._folder / str(side), side or SIDES[0], count)
            self._say(f"wrote {count:,} images of {side or SIDES[0]:,}")
        for name, process in processes.items():
            process.__enter__()
            self._contestants |= dict.fromkeys(CONTESTANTS[name], process)
        for what in self._contestants:
            for model in MODELS:
                if time.monotonic() > self._end:
                    return
                cell = Cell(what, model, 0, self._scale.batches[0] if what == "forward" else 0)
                if self._ask(cell, self._catalogs[0], 0.0) is None:
                    self._broken.add((what, model))
        self._say("all are loaded")

    def measure(self) -> None:
        """Measure every cell in rounds, as many as the budget allows."""
        longest = 0.0
        for turn in range(self._scale.rounds):
            begun = time.monotonic()
            if begun + longest > self._end:
                self._say(f"round {turn + 1} would not fit into the budget")
                return
            for cell in self._cells(turn):
                if time.monotonic() > self._end:
                    self._say("the budget is spent")
                    return
                self._measure(cell, turn)
            longest = max(longest, time.monotonic() - begun)

    def _cells(self, turn: int) -> Iterator[Cell]:
        for side in SIDES:
            for model in MODELS:
                for what in rotated(list(LABELS), turn):
                    if what not in self._contestants or (what, model) in self._broken:
                        continue
                    if what not in OF_THE_MODEL:
                        yield Cell(what, model, side)
                    elif side == SIDES[0]:
                        yield from (Cell(what, model, side, batch) for batch in self._batches(what))

    def _batches(self, what: str) -> tuple[int, ...]:
        return self._scale.batches if what == "forward" else (0,)

    def _measure(self, cell: Cell, turn: int) -> None:
        catalog, count = self._part(cell)
        answer = self._ask(cell, catalog, self._scale.seconds)
        if answer is None:
            return
        if cell.what not in OF_THE_MODEL and answer["images"] != count:
            self._say(f"{cell.what}: {answer['images']:,} images came out of {count:,}; not counted")
            return
        row: dict[str, bench.Figure] = {
            **{name: value for name, value in cell._asdict().items() if value},
            "round": turn,
            "pictures_per_s": round(answer["images"] / answer["seconds"], 1),
            "main_us_per_picture": round(answer["cpu_s"] / answer["images"] * 1e6, 1),
        }
        self.rows.append(row)
        self._save()
        batch = f", batch {cell.batch}" if cell.batch else ""
        place = cell.model if cell.what in OF_THE_MODEL else f"{cell.model}, {cell.side:,}"
        self._say(f"round {turn + 1}: {place}: {cell.what}{batch}: {row['pictures_per_s']:,} images/s")

    def _ask(self, cell: Cell, catalog: Path, seconds: float) -> dict[str, float] | None:
        """Return a contestant's answer; None if it failed, which is said, or was cut off by the budget."""
        model = self._models["decode" if cell.what == "decode" else cell.model]
        batch = cell.batch or self._scale.loader_batch
        with tempfile.TemporaryDirectory(dir=self._folder) as output:
            paths = {"model": str(model), "catalog": str(catalog), "output": output}
            task = {"what": cell.what, **paths, "batch": batch, "seconds": seconds}
            try:
                answer: dict[str, float] = self._contestants[cell.what].ask(task, self._end - time.monotonic())
            except ContestantError as error:
                self._say(f"{cell.what} with {cell.model} is {MISSING}: {error}")
                return None
        return answer

    def _part(self, cell: Cell) -> tuple[Path, int]:
        """Return a catalog of the size's images, fewer for what is slow, and their number."""
        share, side = SHARES.get(cell.what, 1), cell.side
        if (side, share) not in self._parts:
            self._parts[side, share] = part(self._catalogs[side], share)
        return self._parts[side, share]

    def _save(self) -> None:
        """Write what was measured until now, so that a run that is cut off leaves it."""
        if self._json:
            found = {"benchmark": "gpu", "machine": self._machine, "rows": self.rows, "ratios": ratios(self.rows),
                     "goals": {name: ratio.goal for name, ratio in RATIOS.items()}}  # fmt: skip
            beside = self._json.with_name(f"{self._json.name}.part")
            beside.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
            beside.replace(self._json)

    def _say(self, what: str) -> None:
        print(f"[{time.monotonic() - self._begun:5.0f} s] {what}", file=sys.stderr, flush=True)


def part(catalog: Path, share: int) -> tuple[Path, int]:
    """Return the catalog of one in `share` of its images, linked into a folder of their own, and their number."""
    digests: dict[str, str] = json.loads(catalog.with_name("digests.json").read_text(encoding="utf-8"))
    if share == 1:
        return catalog, len(digests)
    chosen = dict(list(digests.items())[: max(FEWEST, len(digests) // share)])
    folder = catalog.parent.with_name(f"{catalog.parent.name}-{share}")
    folder.mkdir()
    for name in chosen:
        os.link(catalog.with_name(name), folder / name)
    (folder / "digests.json").write_text(json.dumps(chosen), encoding="utf-8")
    return write_catalog(folder / "products.csv", list(chosen)), len(chosen)


if __name__ == "__main__":
    main()
