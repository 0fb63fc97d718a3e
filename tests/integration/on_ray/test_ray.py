"""Runs on a Ray cluster of two nodes on this machine give the same rows and bytes, whichever process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from support.ray_shop import IGNORED, POISON, DiesOfPoison, DiesOnce, Plain, exported, mixed, on_ray
from support.small_shop import SIDE, SmallShop

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = IGNORED

TESTS = Path(__file__).parents[2]
SOAK = bool(os.environ.get("INGEST_SOAK"))
MANY = 2000 if SOAK else 600


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a shop of many products, each with its own image; copy its folder with hard links."""
    shop = SmallShop(tmp_path_factory.mktemp("many"))
    shop.stock({f"P{number:04d}": (number, f"Product {number}") for number in range(MANY)})
    return shop.folder


@pytest.fixture
def many(pictures: Path, tmp_path: Path) -> SmallShop:
    shop = SmallShop(tmp_path / "many")
    (shop.folder / "images").rmdir()
    (shop.folder / "images").symlink_to(pictures / "images")
    shop.settings.catalog.write_bytes((pictures / "products.csv").read_bytes())
    return SmallShop(shop.folder, images_root=pictures)


def when(condition: Callable[[], bool], action: Callable[[], None]) -> threading.Thread:
    """Call `action` as soon as `condition` holds, on a thread."""

    def watch() -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def shards(shop: SmallShop) -> int:
    return len(list(shop.folder.glob("data/embeddings/store/*/block-*/keys.npy")))


def skipped(outcome: Any) -> list[str]:
    return Path(outcome.places["skipped"]).read_text(encoding="utf-8").replace("\r", "").splitlines()


def test_both_engines_give_the_same_rows_digests_exports_and_skips(cluster, tmp_path):
    plain, ray = SmallShop(tmp_path / "plain"), SmallShop(tmp_path / "ray")
    outcomes = []
    for shop, run in ((plain, SmallShop.run), (ray, on_ray)):
        mixed(shop)
        outcomes.append(run(shop, exports=True))
    assert ray.rows() == plain.rows()
    assert exported(ray) == exported(plain)
    where = [[line.replace(str(shop.folder), "") for line in skipped(outcome)]
             for shop, outcome in zip((plain, ray), outcomes, strict=True)]  # fmt: skip
    assert sorted(where[0]) == sorted(where[1]), "on a cluster in the order in which blocks are finished"
    first, second = (outcome.summary for outcome in outcomes)
    assert (first.products, first.upserted, first.added, first.reasons) == (
        second.products, second.upserted, second.added, second.reasons,
    )  # fmt: skip


def test_a_second_run_on_ray_only_writes_what_changed(cluster, tmp_path):
    shop = SmallShop(tmp_path)
    stock: dict[str, tuple[int | None, str]] = {f"P{n:03d}": (n, "Mug") for n in range(50)}
    shop.stock(stock)
    assert on_ray(shop).summary.embedded == 50
    assert on_ray(shop).summary.unchanged == 50
    logs = sorted((shop.folder / "data" / "runs").glob("*/ray.log"))
    assert len(logs) == 1, "a night without changes asks nothing of the cluster"
    shop.stock(stock | {"P001": (1, "Renamed")})
    shop.redraw(2, 100)
    summary = on_ray(shop).summary
    assert (summary.embedded, summary.upserted, summary.unchanged) == (1, 2, 48)
    assert summary.changed == {"picture": 1, "metadata": 1, "both": 0}
    assert shop.run().summary.upserted == 0, "the one-machine run finds everything in place"


def test_an_actor_that_dies_loses_no_block(cluster, many, capfd):
    capfd.readouterr()
    outcome = on_ray(many, DiesOnce(mark=many.folder / "died"))
    assert capfd.readouterr().out == "", "stdout is for what ingest says"
    assert (many.folder / "died").exists()
    assert (outcome.summary.upserted, outcome.summary.skipped) == (MANY, 0)


def test_the_one_image_that_kills_its_worker_is_found_and_skipped(cluster, tmp_path):
    shop = SmallShop(tmp_path)
    products, deadly = (6, 2) if SOAK else (3, 0)  # each killed worker is replaced by a new one
    shop.stock({f"P{n:03d}": (n, "Mug") for n in range(products)})
    Image.fromarray(np.full((SIDE, SIDE, 3), POISON, np.uint8)).save(shop.folder / "images" / f"{deadly}.png")
    outcome = on_ray(shop, DiesOfPoison(log=tmp_path / "kills"))
    assert (outcome.summary.upserted, outcome.summary.reasons) == (products - 1, {"killed worker": 1})
    assert skipped(outcome)[1].startswith(f"P{deadly:03d},decode,killed worker,")
    assert set(shop.rows()) == {f"P{n:03d}" for n in range(products)} - {f"P{deadly:03d}"}
    assert (tmp_path / "kills").read_text().split().count("1") == 3, "three times alone"


@pytest.mark.skipif(not SOAK, reason="takes more than a minute: INGEST_SOAK=1")
def test_a_node_that_is_removed_loses_no_block(cluster, many):
    node = cluster.add_node(num_cpus=2, object_store_memory=100 * 2**20)
    cluster.wait_for_nodes()
    watch = when(lambda: shards(many) > 0, lambda: cluster.remove_node(node, allow_graceful=False))
    outcome = on_ray(many, Plain(0.1), actors="4")
    watch.join()
    assert (outcome.summary.upserted, outcome.summary.skipped) == (MANY, 0)


def test_a_run_after_a_killed_driver_continues_where_it_stopped(cluster, many):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    driver = subprocess.Popen(
        [sys.executable, "-c", _DRIVER, str(many.folder), cluster.address], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    with closing(driver.stderr):
        while not shards(many) and driver.poll() is None:
            time.sleep(0.01)
        assert driver.poll() is None, driver.stderr.read().decode()
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    stored = sum(len(np.load(path)) for path in many.folder.glob("data/embeddings/store/*/block-*/keys.npy"))
    outcome = on_ray(many)
    assert 0 < outcome.summary.embedded <= MANY - stored, "what is in a shard is not embedded again"
    assert len(many.rows()) == MANY


_DRIVER = """
import sys
from pathlib import Path
from support.ray_shop import Plain, encoding
from support.small_shop import SmallShop
shop = SmallShop(Path(sys.argv[1]), images_root=(Path(sys.argv[1]) / "images").resolve().parent)
with shop.faked(), encoding(Plain(0.2)):
    shop.run(engine="ray", address=sys.argv[2], batch_size=32)
"""
