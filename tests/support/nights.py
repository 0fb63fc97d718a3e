"""Nights of a small shop: ways in which products drop out of a run, and what can be seen of it afterwards."""

from __future__ import annotations

import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from support import fake_encoder
from support.http_server import Answer, Server
from support.shop import ROOT, write_csv
from support.small_shop import SIDE, SmallShop, _draw, picture_vector

from ingest.cli.main import main
from ingest.core.records import Reason
from ingest.exports import faiss_index
from ingest.server import last_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pytest

FIVE = [f"P{number}" for number in range(5)]
ONE = ["P1"]
Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """What is to be seen after a run: on the terminal, in Milvus, in the files, in the reports, and on the page."""

    code: int
    out: str
    err: str
    collection: str
    served: str | None
    rows: dict[str, int]
    exported: list[str]
    report: dict[str, Any]
    status: str
    page: last_run.LatestRun

    @property
    def first(self) -> str:
        return self.out.splitlines()[0]

    @property
    def alias(self) -> str:
        """Which collection the alias serves."""
        if self.served is None:
            return "nothing"
        return "this run's" if self.served == self.collection else "the one before"

    @property
    def filled(self) -> int:
        """Rows in this run's collection."""
        return self.rows.get(self.collection, 0)

    @property
    def refused(self) -> bool:
        return "the exported files stay as they were" in self.out

    @property
    def exports(self) -> str:
        return f"{len(self.exported)}{', refused' if self.refused else ''}" if self.exported else "none"


class Shop(SmallShop):
    """A small shop of five products, each with a price, whose runs are made through the command line."""

    def __init__(self, folder: Path, server: Server | None = None) -> None:
        super().__init__(folder)
        self.server = server
        self.catalog = [
            {"product_id": name, "image": f"images/{number}.png", "title": f"Product {number}", "price": "1.5"}
            for number, name in enumerate(FIVE)
        ]
        for number in range(len(FIVE)):
            _draw(number, folder / "images" / f"{number}.png")

    def copied_to(self, folder: Path) -> Shop:
        shutil.copytree(self.folder, folder)
        return Shop(folder, self.server)

    def put(self, name: str, picture: Image.Image | bytes) -> str:
        """Write an image into the shop's folder; return what the catalog calls it."""
        path = self.folder / "images" / name
        path.write_bytes(picture) if isinstance(picture, bytes) else picture.save(path)
        return f"images/{name}"

    def run_as_typed(self, *arguments: str, command: str = "run") -> tuple[int, str, str]:
        """Run a command as the command line would; return its exit code, stdout and stderr."""
        settings = self.settings
        write_csv(settings.catalog, self.catalog)
        given = ["--data", str(settings.data)]
        if command != "status":
            given += ["--catalog", str(settings.catalog), "--model", settings.model]
        if command in ("run", "embed"):
            given += ["--download-workers", "2", "--decode-workers", "1", "--batch-size", "4", "--download-tries", "1"]
        if command == "run":
            given += ["--max-wait", "5"]
        out, err = StringIO(), StringIO()
        code: object = None
        with self.faked(), redirect_stdout(out), redirect_stderr(err):
            try:
                main([command, *given, *arguments])
            except SystemExit as ended:
                code = ended.code
        assert isinstance(code, int)
        return code, out.getvalue(), err.getvalue()

    def night(self, *arguments: str) -> Seen:
        """Run, and look at everything that the run may have changed."""
        code, out, err = self.run_as_typed(*arguments)
        report = self.report()
        with self.client() as client:
            names = client.list_collections()
            rows = {}
            for name in names:
                client.load_collection(name)
                rows[name] = int(client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"])
            served = client.describe_collection("products")["collection_name"] if self._is_served(client) else None
        page = last_run.latest(self.settings.data / "runs")
        assert page is not None
        status = self.run_as_typed(command="status")[1]
        return Seen(code, out, err, report["collection"], served, rows, self.exported(), report, status, page)

    def exported(self) -> list[str]:
        """Return the ids in the exported files, which must agree; nothing where there are none."""
        settings = replace(self.settings, sample=0)
        if not settings.npy.exists():
            return []
        ids: list[str] = json.loads(settings.npy_ids.read_text(encoding="utf-8"))
        vectors = np.load(settings.npy)
        assert len(vectors) == len(ids)
        if ids:
            index = faiss_index.open_index(settings.indexes, vectors.shape[1])
            assert index.names == ids
            np.testing.assert_array_equal(index.rows, vectors)
        return ids

    def _is_served(self, client: Any) -> bool:
        return "products" not in client.list_collections() and bool(client.has_collection("products"))


def another_schema(shop: Shop) -> list[str]:
    """Change what the index is built with, which fills another collection."""
    shipped = (ROOT / "schema" / "products.toml").read_text(encoding="utf-8")
    path = shop.folder / "contract.toml"
    path.write_text(shipped.replace("M = 16 ", "M = 24 "), encoding="utf-8")
    return ["--schema", str(path)]


def fails_by_url(answer: Answer | str, *more: str) -> Callable[[Shop, list[Row]], list[str]]:
    """Let the images be at a URL that gives this answer, or at this URL."""

    def breaks(shop: Shop, rows: list[Row]) -> list[str]:
        for row in rows:
            assert shop.server is not None
            url = answer if isinstance(answer, str) else shop.server.serve(f"/{row['product_id']}.png", answer)
            row["image"] = url.replace("http:", "https:") if "tls" in more else url
        return ["--download-missing", "--allow-private", *(word for word in more if word != "tls")]

    return breaks


def fails_by_row(change: Callable[[Row], Row], *more: str) -> Callable[[Shop, list[Row]], list[str]]:
    """Change the rows themselves."""

    def breaks(_shop: Shop, rows: list[Row]) -> list[str]:
        for row in rows:
            row |= change(row)  # noqa: PLW2901  in place
        return list(more)

    return breaks


def fails_by_image(image: Callable[[], Image.Image | bytes], *more: str) -> Callable[[Shop, list[Row]], list[str]]:
    """Let the images be this one."""

    def breaks(shop: Shop, rows: list[Row]) -> list[str]:
        for row in rows:
            row["image"] = shop.put(f"other-{row['product_id']}.png", image())
        return list(more)

    return breaks


def is_doubled(shop: Shop, rows: list[Row]) -> list[str]:
    first = shop.catalog[0]
    for row in rows:
        if row is not first:
            row["product_id"] = first["product_id"]
    return []


def has_a_torn_row(shop: Shop, rows: list[Row]) -> list[str]:
    for row in rows:
        row["price"] = "1\0"
        row["image"] = "images/a\x07.png"
    return []


def is_not_downloaded(shop: Shop, rows: list[Row]) -> list[str]:
    fails_by_url(Answer())(shop, rows)
    return []


def is_blocked(shop: Shop, rows: list[Row]) -> list[str]:
    fails_by_url(Answer())(shop, rows)
    return ["--download-missing"]


def has_a_host_that_rests(shop: Shop, rows: list[Row]) -> list[str]:
    """Let another product be the first to be told to come back in three hours."""
    fails_by_url(Answer(status=503, headers={"Retry-After": "9999"}))(shop, rows)
    assert shop.server is not None
    # At a URL of its own: what one URL answers is asked once.
    busy = shop.server.serve("/first.png", Answer(status=503, headers={"Retry-After": "9999"}))
    shop.catalog.insert(0, {**rows[0], "product_id": "first", "image": busy})
    return ["--download-missing", "--allow-private", "--download-workers", "1"]


def has_a_foreign_row(shop: Shop, rows: list[Row]) -> list[str]:
    foreign = {"embedding": picture_vector("x", 1), "row_digest": "", "image_sha256": "", "category": "", "colour": "",
               "price": 0.0, "brand": "", "image": "", "title": "not ours"}  # fmt: skip
    with shop.client() as client:
        client.load_collection("products")
        name = client.describe_collection("products")["collection_name"]
        client.upsert(name, [{"product_id": row["product_id"], **foreign} for row in rows])
    return []


def has_no_vector(shop: Shop, rows: list[Row]) -> list[str]:
    """Let the images be white, of which the model makes nothing."""
    return fails_by_image(lambda: Image.new("RGB", (SIDE, SIDE), "white"))(shop, rows)


def make_nothing_of_white(monkeypatch: pytest.MonkeyPatch) -> None:
    vector_of = fake_encoder.vector_of

    def vector(model: str, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.full(fake_encoder.DIM, np.nan, np.float32) if pixels.min() == 255 else vector_of(model, pixels)

    monkeypatch.setattr(fake_encoder, "vector_of", vector)


def _torn() -> bytes:
    return (ROOT / "data" / "images" / "P0001.jpg").read_bytes()[:900]


BREAKS: dict[Reason, Callable[[Shop, list[Row]], list[str]]] = {
    Reason.NO_ID: fails_by_row(lambda row: {"product_id": ""}),
    Reason.ID_TOO_LONG: fails_by_row(lambda row: {"product_id": row["product_id"] + "x" * 200}),
    Reason.DUPLICATE_ID: is_doubled,
    Reason.NO_IMAGE: fails_by_row(lambda row: {"image": ""}),
    Reason.BAD_ROW: has_a_torn_row,
    Reason.BAD_METADATA: fails_by_row(lambda row: {"price": "cheap"}),
    Reason.NOT_DOWNLOADED: is_not_downloaded,
    Reason.DNS: fails_by_url("http://nowhere.invalid/1.png"),
    Reason.CONNECT: fails_by_url("http://127.0.0.1:9/1.png"),
    Reason.TIMEOUT: fails_by_url(Answer(b"x", length=9, hangs=True), "--download-timeout", "0.2"),
    Reason.TLS: fails_by_url(Answer(), "tls"),
    Reason.BAD_ANSWER: fails_by_url(Answer(status=204)),
    Reason.NOT_FOUND: fails_by_url(Answer(status=404)),
    Reason.HTTP_429: fails_by_url(Answer(status=429)),
    Reason.HTTP_4XX: fails_by_url(Answer(status=403)),
    Reason.HTTP_5XX: fails_by_url(Answer(status=503)),
    Reason.HOST_RESTING: has_a_host_that_rests,
    Reason.BLOCKED_ADDRESS: is_blocked,
    Reason.DISALLOWED: fails_by_row(lambda row: {"image": "/etc/hostname"}),
    Reason.UNREADABLE: fails_by_row(lambda row: {"image": "/proc/self/mem"}, "--images-root", "/proc/self"),
    Reason.TOO_LARGE: fails_by_image(lambda: Image.new("RGB", (40, 40), "red"), "--max-pixels", "100"),
    Reason.NOT_AN_IMAGE: fails_by_image(lambda: b"no picture"),
    Reason.TRUNCATED: fails_by_image(_torn),
    Reason.TOO_SMALL: fails_by_image(lambda: Image.new("RGB", (4, 4), "red"), "--min-side", str(SIDE)),
    Reason.BLANK: fails_by_image(lambda: Image.new("RGB", (SIDE, SIDE), "red"), "--skip-blank"),
    Reason.BAD_VECTOR: has_no_vector,
    Reason.FOREIGN_ROW: has_a_foreign_row,
}  # KILLED_WORKER: on a Ray cluster, tests/integration/on_ray


def broken(shop: Shop, reason: Reason, names: Sequence[str]) -> list[str]:
    """Let these products fail for a reason; return the flags that it takes."""
    return BREAKS[reason](shop, [row for row in shop.catalog if row["product_id"] in names])
