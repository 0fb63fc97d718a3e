"""The real command line, killed at random moments and started again until done, ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import pytest
from checkpoints import write_clip
from milvus_lite.server_manager import server_manager_instance
from PIL import Image
from pymilvus import MilvusClient

from faults.server import milvus_server

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PRODUCTS, BATCH = 200, 8
KILLS = (50, 50) if os.environ.get("INGEST_SOAK") else (14, 6)
_REMOVED, _CHANGED = 10, 20
PARTS: list[tuple[int, int, tuple[str, ...]]] = [(0, 0, ()), (1, 0, ("--prune",)), (1, 1, ())]
"""Which catalog, which model, and what else is said."""


class Forked:
    """Starts commands in children of one process that has everything imported."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "faults" / "fork_server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip

    def run(self, folder: Path, *arguments: str, kill_after: float | None = None) -> int:
        """Run to the end or, after so many seconds, to the kill; return the exit code, -9 for killed."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps({"arguments": arguments, "folder": str(folder)}) + "\n")
        self._server.stdin.flush()
        pid = self._answer()["pid"]
        timer = threading.Timer(kill_after if kill_after is not None else 300, os.kill, (pid, signal.SIGKILL))
        timer.start()
        try:
            return int(self._answer()["code"])
        finally:
            timer.cancel()
            timer.join()

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()

    def _answer(self) -> dict[str, int]:
        assert self._server.stdout is not None
        answer: dict[str, int] = json.loads(self._server.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def forked() -> Iterator[Forked]:
    with closing(Forked()) as forked:
        yield forked


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [write_clip(folder / "one", 1), write_clip(folder / "two", 2)]


class Shop:
    """A folder with a catalog of 200; `uri` is Milvus, "" for a Lite file in the data folder."""

    def __init__(self, folder: Path, models: list[Path], uri: str, alias: str) -> None:
        self.folder, self.models, self.alias = folder, models, alias
        self.uri = uri or str(folder / "data" / "milvus.db")
        (folder / "images").mkdir(parents=True)
        contract = (ROOT / "schema" / "products.toml").read_text(encoding="utf-8")
        (folder / "contract.toml").write_text(contract.replace('alias = "products"', f'alias = "{alias}"'))
        (folder / "ingest.toml").write_text(
            f'catalog = "products.csv"\ndata = "data"\nschema = "contract.toml"\nbatch_size = {BATCH}\n'
            f'uri = "{self.uri}"\nmax_wait = 30\ndecode_workers = 1\ndownload_workers = 2\ndtype = "float32"\n'
        )
        for number in range(PRODUCTS + _CHANGED):
            noise = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(noise).save(folder / "images" / f"{number}.png")

    def stock(self, stage: int) -> None:
        """Write the catalog: in the second stage some products have left and some have another picture."""
        numbers = range(_REMOVED * stage, PRODUCTS)
        picture = {n: n if not stage or n >= 2 * _CHANGED else PRODUCTS + n - _CHANGED for n in numbers}
        picture = {n: p if p >= 0 else n for n, p in picture.items()}
        rows = [f"P{n},images/{picture[n]}.png,Product {n} {stage}\n" for n in numbers]
        (self.folder / "products.csv").write_text("product_id,image,title\n" + "".join(rows))

    def embedded(self) -> int:
        """Count the vectors in all shards of all models, written twice or not."""
        return sum(len(np.load(keys)) for keys in (self.folder / "data").glob("embeddings/store/*/[0-9]*/keys.npy"))

    def state(self) -> dict[str, Any]:
        """Return all that a run leaves for others."""
        with self.client() as client:
            client.load_collection(self.alias)
            found = client.query(
                self.alias, filter='product_id != ""', output_fields=["*"], consistency_level="Strong", limit=16_384
            )
            doubled = len(found) - len({row["product_id"] for row in found})
        data = self.folder / "data"
        vectors = np.load(data / "embeddings" / "clip_embeddings.npy")
        index = faiss.read_index(str(data / "indexes" / f"hnsw_clip_{vectors.shape[1]}.faiss"))
        return {
            "rows": {row["product_id"]: (row["row_digest"], row["title"], row["embedding"]) for row in found},
            "doubled": doubled,
            "npy": vectors.tobytes(),
            "ids": (data / "embeddings" / "embedding_metadata.json").read_bytes(),
            "faiss": index.search(vectors[:20], 5)[1].tolist(),
        }

    @contextmanager
    def client(self) -> Iterator[MilvusClient]:
        with closing(MilvusClient(uri=self.uri)) as client:
            yield client
        if "://" not in self.uri:
            server_manager_instance.release_server(self.uri)


def journey(shop: Shop, forked: Forked, seconds: list[float], kills: int, chance: random.Random) -> int:
    """Fill, then change and prune, then take another model; kill each part at random moments of its `seconds`.

    Returns how often it was killed. A run that was quicker than its kill counts as one: the next finds less to do.
    """
    killed = 0
    for number, (stage, model, arguments) in enumerate(PARTS):
        shop.stock(stage)
        command = ("run", "--model", str(shop.models[model]), "--quiet", *arguments)
        for _ in range(kills // len(PARTS) + (number < kills % len(PARTS))):
            # A little beyond the end, for the exports and the moving of the alias come last.
            code = forked.run(shop.folder, *command, kill_after=chance.uniform(0.05, seconds[number] * 1.02))
            assert code in (0, -signal.SIGKILL), (shop.folder / "command.log").read_text()
            killed += code != 0
        assert forked.run(shop.folder, *command) == 0, (shop.folder / "command.log").read_text()
    return killed


def calm_journey(shop: Shop, forked: Forked) -> list[float]:
    """Do the same undisturbed; return how many seconds each part took."""
    seconds = []
    for stage, model, arguments in PARTS:
        shop.stock(stage)
        started = time.monotonic()
        code = forked.run(shop.folder, "run", "--model", str(shop.models[model]), "--quiet", *arguments)
        assert code == 0, (shop.folder / "command.log").read_text()
        seconds.append(time.monotonic() - started)
    return seconds


def test_killed_anywhere_it_ends_as_if_nothing_had_happened_on_lite(
    forked: Forked, models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = compare(forked, models, tmp_path, "", KILLS[0])
    with capsys.disabled():
        print(f"\nLite: {told}", end="")  # noqa: T201  what the test shows


def test_killed_anywhere_it_ends_as_if_nothing_had_happened_on_a_server(
    forked: Forked, models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with milvus_server() as server:
        told = compare(forked, models, tmp_path, server.uri, KILLS[1])
    with capsys.disabled():
        print(f"\nserver: {told}", end="")  # noqa: T201  what the test shows


def compare(forked: Forked, models: list[Path], folder: Path, uri: str, kills: int) -> str:
    """Compare a shop whose runs were killed with one whose were not; return the counts, in words."""
    calm = Shop(folder / "calm", models, uri, "calm")
    seconds = calm_journey(calm, forked)
    shop = Shop(folder / "killed", models, uri, "kill")
    killed = journey(shop, forked, seconds, kills, random.Random(kills))

    before, after = calm.state(), shop.state()
    assert after == before
    pictures = calm.embedded()
    again = shop.embedded() - pictures
    assert again <= killed * BATCH
    return f"killed {killed} times; {pictures} pictures, {max(again, 0)} embedded twice, nothing differs at the end"
