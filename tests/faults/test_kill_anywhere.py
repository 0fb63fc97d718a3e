"""The real command line, killed in every phase and started again until done, ends as if nothing had happened."""

from __future__ import annotations

import io
import os
import random
import signal
from collections import Counter
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import pytest
from PIL import Image
from support.checkpoints import write_clip
from support.http_server import Answer, Server
from support.shop import client_of, contract_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.forked import Forked

ROOT = Path(__file__).parents[2]
PRODUCTS, BATCH = 200, 8
KILLS = (50, 50) if os.environ.get("INGEST_SOAK") else (9, 5)
MOMENTS = {
    "fetching": (0.1, 30),
    "embedding": (0.1, 3),
    "shard writing": (0.1, 3),
    "upserting": (0.1, 1),
    "pruning": (0.05, 1),
    "exporting": (0.1, 2),
    "alias moving": (0.02, 1),
}
"""When to kill in each phase: seconds after it is entered, and for the how-manieth time; so that something is left to
do for the phases after it."""
QUIET = 2
"""Parts of a journey that nothing is killed in where there are few kills: they fill a collection for each model, so
that from then on each part has rows to prune and an alias to move."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [write_clip(folder / "one", 1), write_clip(folder / "two", 2)]


@pytest.fixture
def pictures() -> Iterator[Pictures]:
    with closing(Pictures()) as pictures:
        yield pictures


class Pictures:
    """An HTTP server of pictures of noise, by number."""

    def __init__(self) -> None:
        self._server = Server()

    def url(self, number: int) -> str:
        path = f"/{number}.png"
        if path not in self._server.scripts:
            file = io.BytesIO()
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)).save(file, "PNG")
            self._server.serve(path, Answer(file.getvalue()))
        return self._server.url(path)

    def close(self) -> None:
        self._server.stop()


class Shop:
    """A folder with a catalog of 200; `uri` is Milvus, "" for a Lite file in the data folder."""

    def __init__(self, folder: Path, models: list[Path], pictures: Pictures, uri: str, alias: str) -> None:
        self.folder, self.models, self.pictures, self.alias = folder, models, pictures, alias
        self.uri = uri or str(folder / "data" / "milvus.db")
        folder.mkdir(parents=True)
        contract_in(folder, alias)
        (folder / "ingest.toml").write_text(
            f'catalog = "products.csv"\ndata = "data"\nschema = "contract.toml"\nbatch_size = {BATCH}\n'
            f'uri = "{self.uri}"\nmax_wait = 30\ndecode_workers = 1\ndownload_workers = 2\ndtype = "float32"\n'
            "download_missing = true\nallow_private = true\nprune = true\n"
        )

    def stock(self, part: int) -> set[int]:
        """Write the catalog of a part: some products left, others came back or have another picture or title.

        Returns the pictures in it.
        """
        numbers = [n for n in range(PRODUCTS) if n % 20 != part % 20]
        picture = {n: n + PRODUCTS * (part + 1) if n % 4 == part % 4 else n for n in numbers}
        titles = {n: f"Product {n} of {part if n % 5 == part % 5 else 'old'}" for n in numbers}
        rows = [f"P{n},{self.pictures.url(picture[n])},{titles[n]}\n" for n in numbers]
        (self.folder / "products.csv").write_text("product_id,image,title\n" + "".join(rows))
        return set(picture.values())

    def run(self, forked: Forked, part: int, kill: tuple[str, int, float] | None = None) -> bool:
        """Run with the model of a part; return whether it was killed, as it must be or end well."""
        model = self.models[part % len(self.models)]
        code = forked.run(self.folder, "run", "--model", str(model), "--quiet", kill=kill, shard_rows=BATCH)
        assert code in (0, -signal.SIGKILL if kill else 0), (self.folder / "command.log").read_text()
        return code != 0

    def embedded(self) -> int:
        """Count the pictures that the models have embedded, whether their vectors came to be stored or not."""
        return sum(int(line) for line in (self.folder / "embedded").read_text().split())

    def state(self) -> dict[str, Any]:
        """Return all that a run leaves for others."""
        with client_of(self.uri) as client:
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


def journey(shop: Shop, forked: Forked, kills: int, chance: random.Random) -> tuple[Counter[str], int, int]:
    """Take the catalog from part to part and kill each part's run in every phase, one after the other.

    Returns how often it was killed in which, the last part, and how many pictures the models had to embed.
    """
    killed: Counter[str] = Counter()
    needed: set[tuple[int, int]] = set()
    for part in count():
        needed |= {(part % len(shop.models), picture) for picture in shop.stock(part)}
        for phase in MOMENTS if part >= QUIET else ():
            if killed.total() < kills:
                latest, entries = MOMENTS[phase]
                delay = chance.choice((0.0, chance.uniform(0, latest)))
                killed[phase] += shop.run(forked, part, kill=(phase, chance.randint(1, entries), delay))
        shop.run(forked, part)
        if killed.total() == kills:
            return killed, part, len(needed)
    raise AssertionError


def test_killed_anywhere_it_ends_as_if_nothing_had_happened_on_lite(
    forked: Forked, models: list[Path], pictures: Pictures, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = compare(forked, models, pictures, tmp_path, "", KILLS[0])
    with capsys.disabled():
        print(f"\nLite: {told}", end="")  # noqa: T201  what the test shows


def test_killed_anywhere_it_ends_as_if_nothing_had_happened_on_a_server(
    forked: Forked, models: list[Path], pictures: Pictures, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    milvus_uri: str, collection_name: str,
) -> None:  # fmt: skip
    told = compare(forked, models, pictures, tmp_path, milvus_uri, KILLS[1], f"{collection_name}_")
    with capsys.disabled():
        print(f"\nserver: {told}", end="")  # noqa: T201  what the test shows


def compare(
    forked: Forked, models: list[Path], pictures: Pictures, folder: Path, uri: str, kills: int, prefix: str = ""
) -> str:
    """Compare a shop whose runs were killed with one that was filled undisturbed; return the counts, in words."""
    shop = Shop(folder / "killed", models, pictures, uri, f"{prefix}kill")
    killed, part, needed = journey(shop, forked, kills, random.Random(kills))
    calm = Shop(folder / "calm", models, pictures, uri, f"{prefix}calm")
    calm.stock(part)
    calm.run(forked, part)

    assert shop.state() == calm.state()
    again = shop.embedded() - needed
    assert 0 <= again <= kills * 4 * BATCH, "what the model works on, and what waits for the disk"
    phases = ", ".join(f"{times} {phase}" for phase, times in killed.items())
    return f"killed {kills} times ({phases}); {needed} pictures, {again} embedded twice, nothing differs at the end"
