"""A shop in a folder of its own: catalog, pictures, settings, and the installed command run there as a user would."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from milvus_lite.server_manager import server_manager_instance
from pymilvus import MilvusClient
from safetensors.numpy import load_file, save_file
from support.forked import Running, fork_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
COMMAND = Path(sysconfig.get_path("scripts"), "ingest")
ALIAS = "products"
BATCH = 4
TIMEOUT_S = 180.0
_SPY = Path(__file__).parents[1] / "e2e" / "spy"
_NO_TORCH = Path(__file__).parents[1] / "e2e" / "no_torch"

_EXPECTED = re.compile(r"ingest: (.* is a sample model |\d+ s( of about|:))")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What stands on stdout, which must be JSON and nothing else."""
        return json.loads(self.out)

    @property
    def said(self) -> list[str]:
        """The lines on stderr, less those that come by themselves: the notice of the sample model, and progress."""
        expected = re.compile(r" is a sample model |^ingest: after \d+ s: ")
        return [line for line in self.err.splitlines() if not expected.search(line)]


class Shop:
    """One folder with `products.csv`, `images/`, `ingest.toml`, and `data/` once a command has run."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.model = model
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"catalog": "products.csv", "data": "data", "model": str(model), "batch_size": BATCH}
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
        (folder / "ingest.toml").write_text("".join(lines), encoding="utf-8")

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def npy(self) -> Path:
        return self.data / "embeddings" / "clip_embeddings.npy"

    @property
    def npy_ids(self) -> Path:
        return self.data / "embeddings" / "embedding_metadata.json"

    @property
    def exports(self) -> list[bytes]:
        return [self.npy.read_bytes(), self.npy_ids.read_bytes()]

    def copied_to(self, folder: Path) -> Shop:
        """Return the same shop elsewhere, with all that its runs left."""
        shutil.copytree(self.folder, folder)
        return Shop(folder, self.model)

    def stock(self, products: Iterable[Mapping[str, str]]) -> None:
        """Write the catalog, and lay in the sample's pictures that it names."""
        products = list(products)
        self.images.mkdir(exist_ok=True)
        for product in products:
            source = ROOT / "data" / product["image"]
            if not (self.folder / product["image"]).exists() and source.is_file():
                shutil.copy2(source, self.folder / product["image"])
        write_csv(self.folder / "products.csv", products)

    def ingest(self, *arguments: str | Path, stdin: str = "", **environment: str | Path) -> Ended:
        """Run `ingest` with these arguments to its end."""
        return run_in(self.folder, [COMMAND, *arguments], stdin=stdin, **environment)

    def run(self, *arguments: str | Path, **environment: str | Path) -> dict[str, Any]:
        """Run `ingest run`, which must succeed, and return its summary."""
        ended = self.ingest("run", "--json", *arguments, **environment)
        assert ended.code == 0, ended.err
        summary: dict[str, Any] = ended.json
        return summary

    def search(self, *arguments: str | Path, **environment: str | Path) -> list[dict[str, Any]]:
        """Run `ingest search`, which must succeed, and return its hits."""
        ended = self.ingest("search", "--json", *arguments, **environment)
        assert ended.code == 0, ended.err
        hits: list[dict[str, Any]] = ended.json
        return hits

    def started(self, *arguments: str | Path, **environment: str | Path) -> Running:
        """Start `ingest` and return while it runs."""
        return fork_server().start([COMMAND, *arguments], self.folder, environment_of(environment))

    def rows(self) -> dict[str, Row]:
        """Return what the Milvus Lite file serves through the alias, by product id."""
        return rows_of(str(self.data / "milvus.db"))

    def unserved_rows(self) -> dict[str, Row]:
        """Return the rows of the only collection in the Milvus Lite file, to which no alias points yet."""
        uri = str(self.data / "milvus.db")
        with client_of(uri) as client:
            (name,) = client.list_collections()
            assert not client.has_collection(ALIAS)
        return rows_of(uri, name)

    def digests(self) -> dict[str, str]:
        return {product_id: row["row_digest"] for product_id, row in self.rows().items()}

    def stored(self) -> int:
        """Return how many pictures the store has a vector of, in whole shards; while some are merged both are there."""
        keys: set[bytes] = set()
        for path in self.data.glob("embeddings/store/*/[0-9]*/keys.npy"):
            with suppress(FileNotFoundError):  # merged by now
                rows = path.read_bytes()[128:]  # a header, and 32 bytes a row
                keys.update(rows[at : at + 32] for at in range(0, len(rows), 32))
        return len(keys)

    def skipped(self, summary: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the rows of the `skipped.csv` that a run's summary points to."""
        with (self.folder / summary["places"]["skipped"]).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


def run_in(folder: Path, command: Sequence[str | Path], *, stdin: str = "", **environment: str | Path) -> Ended:
    """Run any command in `folder` to its end.

    The installed command, and `python -c`, run in a child of the fork server if that is the same.
    """
    command = ["-c", *command[2:]] if list(command[:2]) == [sys.executable, "-c"] else command
    if command[0] not in (COMMAND, "-c") or needs_a_start(environment):
        return run_anew(folder, command, stdin=stdin, **environment)
    running = fork_server().start(command, folder, environment_of(environment), stdin=stdin)
    try:
        out, err = running.communicate(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        running.kill()
        raise
    return Ended(running.wait(), out, err)


def run_anew(folder: Path, command: Sequence[str | Path], *, stdin: str = "", **environment: str | Path) -> Ended:
    """Run any command in `folder` to its end, in a process that begins with nothing imported."""
    ended = subprocess.run(
        command,
        cwd=folder,
        env=environment_of(environment),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def needs_a_start(environment: Mapping[str, str | Path]) -> bool:
    """Return whether Python or a library reads some of this only while it starts or is imported."""
    shadowed = [path for path in Path(environment.get("PYTHONPATH", _SPY)).iterdir() if path.suffix != ".py"]
    at_import = [name for name in environment if name.startswith(("HF_", "PYTHON")) and name != "PYTHONPATH"]
    return bool(at_import or [path for path in shadowed if path.name != "__pycache__"])


def environment_of(changes: Mapping[str, str | Path]) -> dict[str, str]:
    """Return this environment, rid of settings of whoever runs the tests, offline, and with the changes."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("INGEST_", "MILVUS_", "HF_"))}
    changed = {name: str(value) for name, value in changes.items()}
    if "PYTHONPATH" in own and "PYTHONPATH" in changed:
        changed["PYTHONPATH"] += os.pathsep + own["PYTHONPATH"]
    return {**own, "HF_HUB_OFFLINE": "1", **changed}


def spied(log: Path, pause_s: float = 0.0) -> dict[str, str]:
    """Return the environment in which each batch embedded takes `pause_s` longer and leaves its size in `log`.

    Shards have as many vectors as batches.
    """
    return {
        "PYTHONPATH": str(_SPY), "SPY_LOG": str(log), "SPY_PAUSE_S": str(pause_s), "SPY_SHARD_ROWS": str(BATCH),
    }  # fmt: skip


def without_torch() -> dict[str, str]:
    """Return the environment of a machine where torch is not installed."""
    return {"PYTHONPATH": str(_NO_TORCH)}


def embedded(log: Path) -> int:
    """Return how many pictures the spied runs gave to the model."""
    return sum(int(line) for line in log.read_text(encoding="ascii").split()) if log.exists() else 0


def rows_of(uri: str, name: str = ALIAS) -> dict[str, Row]:
    """Return all rows of a collection or alias with all fields, by product id."""
    with client_of(uri) as client:
        client.load_collection(name)
        found = client.query(
            name, filter='product_id != ""', output_fields=["*"], consistency_level="Strong", limit=16_384
        )
    return {row["product_id"]: row for row in found}


@contextmanager
def client_of(uri: str) -> Iterator[MilvusClient]:
    """Connect, and leave a Milvus Lite file free for the commands: pymilvus holds it until the process ends."""
    try:
        with closing(MilvusClient(uri=uri)) as client:
            yield client
    finally:
        if uri.endswith(".db"):
            server_manager_instance.release_server(uri)


def contract_in(folder: Path, alias: str, more: str = "") -> Path:
    """Write the shipped contract under an alias of a test's own, with `more` at its end; return its file."""
    shipped = (ROOT / "schema" / "products.toml").read_text(encoding="utf-8")
    path = folder / "contract.toml"
    path.write_text(shipped.replace(f'alias = "{ALIAS}"', f'alias = "{alias}"') + more, encoding="utf-8")
    return path


def write_csv(path: Path, products: Sequence[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(products[0]))
        table.writeheader()
        table.writerows(products)


def sample_products(count: int) -> list[dict[str, str]]:
    """Return the first products of the committed sample."""
    with (ROOT / "data" / "products.csv").open(encoding="utf-8", newline="") as file:
        return [row for row, _ in zip(csv.DictReader(file), range(count), strict=False)]


def copied_sample_model(folder: Path) -> Path:
    """Copy the sample model to `folder`, so that all of a session's runs see the same one."""
    return Path(shutil.copytree(ROOT / "data" / "models" / "sample-clip", folder))


def perturbed_model(model: Path, folder: Path) -> Path:
    """Make a model of the same shape as `model` that embeds into another space."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    generator = np.random.default_rng(7)
    for name, values in weights.items():
        weights[name] = np.asarray(values + generator.normal(0, 0.02, values.shape), values.dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def wait_until(condition: Callable[[], bool], process: Running | subprocess.Popen[str]) -> None:
    """Return as soon as `condition` holds or the process has ended, looking every millisecond."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.001)
