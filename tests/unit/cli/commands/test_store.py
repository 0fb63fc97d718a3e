"""`ingest store`: what it says, what it merges, what it drops and what it leaves."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from support.small_shop import SmallShop

from ingest.cli.main import cli
from ingest.core.errors import StorageError
from ingest.runtime import remote_files

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    shop = SmallShop(tmp_path)
    shop.stock({f"P{n:02d}": (n, "Mug") for n in range(10)})
    shop.run()
    return shop


def store(shop: SmallShop, *arguments: str, answer: str = "") -> Result:
    where = ["--data", str(shop.settings.data)]
    if arguments[0] != "info":
        where += ["--catalog", str(shop.settings.catalog), "--model", "model-1", "--quiet"]
    with shop.faked():
        return CliRunner().invoke(cli, ["store", *arguments, *where], input=answer)


def space(shop: SmallShop) -> dict[str, int | str]:
    (found,) = json.loads(store(shop, "info", "--json").output)
    return found


def test_info_names_the_model_and_counts(shop):
    found = space(shop)
    assert (found["model"], found["rows"], found["dim"], found["shards"]) == ("model-1", 10, 8, 3)
    assert "10 rows of dim 8" in store(shop, "info").output


def test_info_of_nothing_says_what_to_do(tmp_path):
    assert "no vectors yet; create them with: ingest run" in store(SmallShop(tmp_path), "info").output


@pytest.mark.parametrize("place", ["http://127.0.0.1:1/vectors", "s3://bucket/vectors"])
def test_info_of_a_storage_that_does_not_answer_is_an_error(tmp_path, monkeypatch, place):
    monkeypatch.setattr(remote_files, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(remote_files, "_LONGEST_PAUSE_S", 0.001)
    for name, value in {"ENDPOINT_URL": "http://127.0.0.1:1", "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    result = store(SmallShop(tmp_path), "info", "--store", place)
    assert isinstance(result.exception, StorageError)
    assert f"{place}: cannot be listed" in str(result.exception)
    assert "\n" not in str(result.exception)


def test_compaction_leaves_one_shard_and_nothing_to_embed(shop):
    assert store(shop, "compact").output.endswith("3 shards became 1\n")
    assert space(shop)["rows"] == 10
    before = shop.embedded
    shop.run(retry_failed=True)
    assert shop.embedded == before


def test_gc_drops_what_the_catalog_lost_when_it_is_old_and_agreed_to(shop):
    shop.stock({f"P{n:02d}": (n, "Mug") for n in range(4)})
    assert "6 vectors belong to no image" in store(shop, "gc", "--dry-run").output
    assert store(shop, "gc", "--yes").output.endswith("0 rows dropped\n"), "younger than the grace period"
    for path in shop.settings.data.glob("embeddings/store/*/*/keys.npy"):
        os.utime(path, (time.time() - 8 * 86_400,) * 2)
    assert store(shop, "gc", answer="n\n").exit_code == 1
    assert space(shop)["rows"] == 10
    assert store(shop, "gc", answer="y\n").output.endswith("6 rows dropped\n")
    assert space(shop)["rows"] == 4


def test_gc_refuses_if_images_are_not_on_this_disk(shop):
    with shop.settings.catalog.open("a", encoding="utf-8") as file:
        file.write("P99,https://cdn.example.com/99.jpg,Mug\n")
    result = store(shop, "gc", "--yes")
    assert "1 image is not on this disk" in str(result.exception)


def test_a_grace_that_is_not_a_duration_is_an_error(shop):
    assert "--grace soon: not a duration" in str(store(shop, "gc", "--grace", "soon").exception)
