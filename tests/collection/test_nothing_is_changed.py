"""Commands that only look leave the data folder, the Milvus Lite file and every property as they found them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from support.shop import write_csv
from support.small_shop import FIVE, SmallShop, checkpoint

from ingest.cli.main import cli
from ingest.core.errors import BusyError
from ingest.images.cache.index import ImageIndex
from ingest.images.decode.sandbox import Sandbox
from ingest.milvus.connection import connect
from ingest.runtime.lock import lock_folder
from ingest.server import last_run, snapshot
from ingest.server.alias_watcher import AliasWatcher
from ingest.server.thumbnails import Thumbnails

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

FEW = {name: FIVE[name] for name in ("P1", "P2", "P3")}


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> SmallShop:
    """A shop with a past: a collection that was served before, a stale row, one gone, a fetch that was killed."""
    shop = SmallShop(tmp_path_factory.mktemp("shop"))
    shop.stock(FIVE)
    shop.run(model="model-0", exports=True)
    shop.run(exports=True)
    shop.stock({**FEW, "P3": (None, "fails now"), "P4": (9, "another picture")})
    shop.run(exports=True)
    cache = shop.settings.data / "image_cache"
    (cache / f".{'0' * 32}.part").write_bytes(b"half an image")
    (cache / "P0.png").write_bytes((shop.folder / "images" / "0.png").read_bytes())
    return shop


@pytest.fixture
def shop(stocked: SmallShop, tmp_path: Path) -> SmallShop:
    shutil.copytree(stocked.folder, tmp_path / "shop", symlinks=True)
    return SmallShop(tmp_path / "shop")


def content(shop: SmallShop) -> dict[str, str]:
    """Return the SHA-256 of every file in the data folder, and its folders; the Lite file with its properties too."""
    return {
        str(path.relative_to(shop.settings.data)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        )
        for path in sorted(shop.settings.data.rglob("*"))
    }


def typed(shop: SmallShop, *words: str, model: str = "model-1", catalog: Path | None = None) -> Result:
    """Run a command in this process, in this shop."""
    places = ["--data", str(shop.settings.data)]
    if words[0] in ("plan", "run", "verify", "doctor"):
        places += ["--catalog", str(catalog or shop.settings.catalog), "--model", model]
    with shop.faked():
        ended = CliRunner().invoke(cli, [*words, *places])
    assert not isinstance(ended.exception, AttributeError | TypeError | OSError), ended.exception
    return ended


def plan_another_catalog(shop: SmallShop) -> None:
    other = shop.folder / "other.csv"
    products = [{"product_id": f"X{number}", "image": f"images/{number}.png", "title": ""} for number in range(5)]
    products.append({"product_id": "P0", "image": "http://127.0.0.1:9/p0.png", "title": "as it was dropped in"})
    write_csv(other, products)
    ended = typed(shop, "plan", "--json", catalog=other)
    assert json.loads(ended.stdout)["added"] == 5
    assert {"product_id": "X4", "change": "added"} in json.loads(ended.stdout)["changes"]


def plan_a_new_collection(shop: SmallShop) -> None:
    assert "3 to add" in typed(shop, "plan", "--details", model="model-9").output


def verify_what_differs(shop: SmallShop) -> None:
    shop.redraw(1, 8)
    assert "differences; repair with" in str(typed(shop, "verify", "--pictures").exception)


def look_at_the_page(shop: SmallShop) -> None:
    with (
        connect(shop.settings.milvus, reading=True) as connection,
        Sandbox() as sandbox,
    ):
        live = AliasWatcher(connection, "products", checkpoint(shop.settings.model).space)
        live.refresh()
        assert snapshot.take(connection, live.collection.name, live.collection.contract).rows == 5
        assert Thumbnails(shop.settings.data / "image_cache", sandbox).jpeg("P1", 8)
        latest = last_run.latest(shop.settings.data / "runs")
        assert latest is not None
        assert latest.outcome == "done"


def says(told: str, *words: str, **options: str) -> Callable[[SmallShop], None]:
    def run(shop: SmallShop) -> None:
        ended = typed(shop, *words, **options)  # type: ignore[arg-type]
        assert told in ended.output + str(ended.exception), ended.exception

    return run


LOOKS = {
    "plan": says("3 unchanged", "plan"),
    "plan of another catalog": plan_another_catalog,
    "plan of a new collection": plan_a_new_collection,
    "dry run": says("3 unchanged", "run", "--dry-run"),
    "verify": says("rows: ids, digests, fields", "verify", "--pictures"),
    "verify what differs": verify_what_differs,
    "status": says("local", "status"),
    "search": says("P2", "search", "--product", "P1"),
    "search for a page": says("", "search", "--product", "P1", "--json"),
    "search the files": says("P2", "search", "--product", "P1", "--backend", "faiss"),
    "recommend": says("P2", "recommend", "P1"),
    "collections": says("model-0", "collections"),
    "doctor": says("serves products_", "doctor"),
    "serve": look_at_the_page,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_who_only_looks_changes_nothing(shop: SmallShop, look: Callable[[SmallShop], None]) -> None:
    before = content(shop)

    look(shop)

    assert content(shop) == before


def test_a_plan_and_a_proof_make_nothing_where_nothing_is(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path)
    shop.stock(FEW)

    assert shop.plan().added == 3
    assert "no such Milvus Lite file" in str(typed(shop, "verify").exception)

    assert not shop.settings.data.exists()


def test_the_vectors_that_the_store_has_lost_are_read_from_the_collection_and_not_stored(shop: SmallShop) -> None:
    shutil.rmtree(shop.settings.data / "embeddings" / "store")
    before = content(shop)

    assert shop.plan().embed == 0
    verdict = shop.verify()

    assert content(shop) == before
    assert verdict.sampled == 0
    assert any("are in the collection alone" in note for note in verdict.notes)


def test_what_a_killed_run_wrote_down_last_is_read_too(shop: SmallShop) -> None:
    index = ImageIndex(shop.settings.data / "image_cache" / "index.sqlite")
    entry = index.get("P1")
    assert entry is not None
    index.select("PRAGMA wal_autocheckpoint = 0")
    index.put(entry)
    index.flush()
    copy = SmallShop(shop.folder.with_name("killed"))
    shutil.copytree(shop.folder, copy.folder, dirs_exist_ok=True)
    index.close()
    assert (copy.settings.data / "image_cache" / "index.sqlite-wal").stat().st_size
    before = content(copy)

    says("3 unchanged", "plan")(copy)
    says("local", "status")(copy)

    after = content(copy)
    # SQLite's notes of who reads where in the log: they hold nothing that outlives the processes that do.
    before.pop("image_cache/index.sqlite-shm", None)
    after.pop("image_cache/index.sqlite-shm", None)
    assert after == before


def test_a_milvus_lite_file_that_a_kill_left_is_read_and_left_so(shop: SmallShop) -> None:
    killed = shop.folder.with_name("killed")
    with shop.client() as client:
        name = client.describe_collection("products")["collection_name"]
        client.load_collection(name)
        client.delete(name, filter='product_id == "P2"')
        shutil.copytree(shop.folder, killed)
    copy = SmallShop(killed)
    logs = list((copy.settings.data / "milvus.db").glob("collections/*/wal/*.arrow"))
    assert logs, "what was deleted is in the log alone"
    before = content(copy)

    says("1 to add", "plan")(copy)
    says("row P2 is missing", "verify")(copy)
    says("model-0", "collections")(copy)

    assert content(copy) == before
    copy.run()
    assert "P2" in copy.rows()


def test_who_only_looks_waits_for_no_run_and_does_not_take_its_lock(shop: SmallShop) -> None:
    with lock_folder(shop.settings.data):
        with pytest.raises(BusyError, match=f"process {os.getpid()}"):
            shop.plan()
        assert (shop.settings.data / ".lock.pid").exists()
        says("local", "status")(shop)
    shop.plan()
