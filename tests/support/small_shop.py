"""A shop in this very process, with an encoder that needs no model: a whole run takes a tenth of a second or two."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from PIL import Image
from support.fake_encoder import DIM, FakeEncoder, vector_of
from support.shop import client_of, write_csv

from ingest.core.contract import Space
from ingest.core.settings import Settings
from ingest.embedding.checkpoint import Checkpoint
from ingest.embedding.preprocess import Preprocessing
from ingest.milvus import versions
from ingest.milvus.connection import Connection, connect
from ingest.pipeline import pipeline as lines
from ingest.pipeline.progress import Progress
from ingest.tasks import plan as plans
from ingest.tasks import repair as repairing
from ingest.tasks import run
from ingest.tasks import verify as verifying

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pymilvus import MilvusClient

SIDE = 8
FIVE = {f"P{number}": (number, f"Product {number}") for number in range(5)}
_STEPS = Preprocessing(SIDE, SIDE, SIDE, True, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # noqa: FBT003


def checkpoint(model: str, _revision: str | None = None) -> Checkpoint:
    return Checkpoint(model, None, Space(model, "1", DIM, {}), _STEPS)


class SmallShop:
    """A folder with a catalog of local PNGs; each product has a `picture` (a number, or None for a broken one)."""

    def __init__(self, folder: Path, uri: str = "", **settings: Any) -> None:
        self.folder = folder
        (folder / "images").mkdir(parents=True, exist_ok=True)
        self.settings = Settings(
            catalog=folder / "products.csv", data=folder / "data", model="model-1", uri=uri, batch_size=4, max_wait=5,
            download_workers=2, decode_workers=1, exports=False, **settings,
        )  # fmt: skip
        self._encoders: list[FakeEncoder] = []

    @property
    def embedded(self) -> int:
        """Pictures that the model has seen."""
        return sum(encoder.pictures for encoder in self._encoders)

    def stock(self, products: dict[str, tuple[int | None, str]]) -> None:
        """Write the catalog: id → (picture, title)."""
        rows = []
        for product_id, (picture, title) in products.items():
            name = f"images/{'broken' if picture is None else picture}.png"
            path = self.folder / name
            if not path.exists():
                path.write_bytes(b"no picture") if picture is None else _draw(picture, path)
            rows.append({"product_id": product_id, "image": name, "title": title})
        write_csv(self.settings.catalog, rows)

    def redraw(self, picture: int, other: int) -> None:
        """Put another picture into the file of this one."""
        _draw(other, self.folder / "images" / f"{picture}.png")

    @contextmanager
    def faked(self) -> Iterator[None]:
        """Put the fake encoder in the place of the model."""

        def encoder(pipeline: lines.Pipeline) -> FakeEncoder:
            self._encoders.append(FakeEncoder(pipeline.space, pipeline.settings.batch))
            return self._encoders[-1]

        with mock.patch.object(lines, "resolve", checkpoint), mock.patch.object(lines.Pipeline, "encoder", encoder):
            yield

    def run(self, stop: threading.Event | None = None, **changes: Any) -> run.Outcome:
        with self.faked():
            return run.run(replace(self.settings, **changes), Progress(), stop or threading.Event())

    def plan(self, **changes: Any) -> plans.Plan:
        with self.faked():
            return plans.plan(replace(self.settings, **changes), Progress(), threading.Event())

    def verify(
        self, sample: int = 1000, *, pictures: bool = False, embed: int = 0, **changes: Any
    ) -> verifying.Verdict:
        with self.faked():
            settings = replace(self.settings, **changes)
            return verifying.verify(settings, Progress(), threading.Event(), sample, pictures=pictures, embed=embed)

    def repair(self, *, pictures: bool = False, embed: int = 0, **changes: Any) -> verifying.Verdict:
        """Do what `ingest verify --repair` does."""
        settings = replace(self.settings, **changes)
        found = self.verify(pictures=pictures, embed=embed, **changes)
        with self.faked():
            repairing.repair(settings, found, Progress(), threading.Event())
        return self.verify(pictures=pictures, embed=embed, **changes)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        with connect(self.settings.milvus) as connection:
            yield connection

    def releases(self, alias: str = "products") -> list[releases.Release]:
        with self.connection() as connection:
            return versions.list_versions(connection, alias)

    @contextmanager
    def client(self) -> Iterator[MilvusClient]:
        with client_of(self.settings.milvus_uri) as client:
            yield client

    def rows(self, name: str = "products") -> dict[str, dict[str, Any]]:
        """Return what the alias serves, by product id; nothing where it serves nothing."""
        with self.client() as client:
            if not client.has_collection(name):
                return {}
            client.load_collection(name)
            rows = client.query(name, filter='product_id != ""', output_fields=["*"], consistency_level="Strong")
        # A price that is not known is NaN, which is not equal to itself.
        return {row["product_id"]: {name: row[name] for name in row if name != "price"} for row in rows}

    def details(self, found: plans.Plan) -> dict[str, str]:
        lines_ = found.details.read_text(encoding="utf-8").splitlines()[1:]
        return dict(line.split(",", 1) for line in lines_)

    def report(self) -> dict[str, Any]:
        folder = max((self.folder / "data" / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return report


def picture_vector(model: str, picture: int) -> NDArray[np.float32]:
    """Return the unit vector that a run gives to this picture."""
    vector = vector_of(model, _pixels(picture)).astype(np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _pixels(picture: int) -> NDArray[np.uint8]:
    return np.random.default_rng(picture).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def _draw(picture: int, path: Path) -> None:
    Image.fromarray(_pixels(picture)).save(path)
