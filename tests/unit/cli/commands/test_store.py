"""`ingest store`: what it says, what it merges, what it drops and what it leaves."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from support.small_shop import SmallShop

from ingest.cli.main import cli
from ingest.core.errors import MilvusError, PruneRefusedError, StorageError
from ingest.milvus import versions
from ingest.runtime import remote_files
from ingest.store import shard_writer

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallShop:
    monkeypatch.setattr(shard_writer, "ROWS", 4)
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


def prune(shop: SmallShop, left: int) -> None:
    """Let the catalog lose all but the first products, on purpose."""
    shop.stock({f"P{n:02d}": (n, "Mug") for n in range(left)})
    shop.run(prune=True, max_prune=1.0)


def age(shop: SmallShop, below: str = "store") -> None:
    for path in shop.settings.data.glob(f"embeddings/{below}/*/*/keys.npy"):
        os.utime(path, (time.time() - 8 * 86_400,) * 2)


def test_gc_drops_what_the_catalog_lost_when_it_is_old_and_agreed_to(shop):
    prune(shop, 4)
    refused = store(shop, "gc", "--yes", "--grace", "0s").exception
    assert isinstance(refused, PruneRefusedError)
    assert "6 vectors belong to no image, 60% of all, more than --max-drop 0.2 allows" in str(refused)
    assert space(shop)["rows"] == 10
    most = ["--max-drop", "1"]
    assert "6 vectors belong to no image" in store(shop, "gc", "--dry-run", *most).output
    assert store(shop, "gc", "--yes", *most).output.endswith("nothing was dropped\n"), "younger than the grace period"
    age(shop)
    declined = store(shop, "gc", *most, answer="n\n")
    assert (declined.exit_code, declined.output.splitlines()[-1]) == (0, "nothing was dropped")
    assert space(shop)["rows"] == 10
    assert store(shop, "gc", *most, answer="y\n").output.endswith("6 rows dropped\n")
    assert space(shop)["rows"] == 4


def test_what_gc_dropped_is_found_again_by_a_run_or_restored_until_the_grace_period_ends(shop):
    prune(shop, 4)
    gc = ["gc", "--yes", "--max-drop", "1", "--grace", "0s"]
    assert store(shop, *gc).output.endswith("6 rows dropped\n")
    before = shop.embedded
    shop.stock({f"P{n:02d}": (n, "Mug") for n in range(6)})
    assert shop.run().summary.added == 2
    assert (shop.embedded, space(shop)["rows"]) == (before, 6)
    assert "4 vectors restored" in store(shop, "restore").output
    assert space(shop)["rows"] == 10
    assert store(shop, *gc).output.endswith("4 rows dropped\n")
    assert store(shop, *gc).output.endswith("nothing was dropped\n"), "and empties the trash"
    assert "0 vectors restored" in store(shop, "restore").output


def test_gc_refuses_a_catalog_that_lacks_what_apps_find(shop):
    shop.stock({f"P{n:02d}": (n, "Mug") for n in range(4)})
    refused = str(store(shop, "gc", "--yes", "--grace", "0s", "--max-drop", "1").exception)
    assert "lacks 6 of the 10 products that apps find, more than 20 %" in refused
    allowed = store(shop, "gc", "--yes", "--grace", "0s", "--max-drop", "1", "--allow-smaller")
    assert allowed.output.endswith("nothing was dropped\n"), "apps find the rows, so that their images are in use"


def test_gc_keeps_what_another_catalog_uses(shop, tmp_path):
    other = SmallShop(tmp_path / "other")
    other.stock({f"Q{n}": (n, "Mug") for n in range(2, 9)})
    prune(shop, 4)
    config = tmp_path / "other" / "ingest.toml"
    config.write_text('catalog = "products.csv"\ndata = "data"\n', encoding="utf-8")
    gc = ["gc", "--yes", "--max-drop", "1", "--grace", "0s", "--also", str(config)]
    assert store(shop, *gc, "--also", str(other.settings.catalog)).output.endswith("1 row dropped\n")
    assert space(shop)["rows"] == 9
    (other.folder / "images" / "3.png").unlink()
    assert "products.csv: 1 image cannot be looked at (not found 1)" in str(store(shop, *gc).exception)


def test_gc_and_every_command_look_into_images_root(tmp_path, monkeypatch):
    shop = SmallShop(tmp_path / "shop")
    shop.stock({f"P{n:02d}": (n, "Mug") for n in range(10)})
    (shop.folder / "images").rename(tmp_path / "images")
    shop.settings = replace(shop.settings, images_root=tmp_path)
    shop.run()
    gc = ["gc", "--yes", "--grace", "0s"]
    assert "10 images cannot be looked at (not found 10)" in str(store(shop, *gc).exception)
    config = tmp_path / "ingest.toml"
    config.write_text('images_root = "."\n', encoding="utf-8")
    assert store(shop, *gc, "--config", str(config)).output.endswith("nothing was dropped\n")
    assert space(shop)["rows"] == 10


def test_gc_refuses_if_images_are_not_on_this_disk(shop):
    with shop.settings.catalog.open("a", encoding="utf-8") as file:
        file.write("P99,https://cdn.example.com/99.jpg,Mug\n")
    result = store(shop, "gc", "--yes")
    assert "1 image cannot be looked at (not downloaded 1)" in str(result.exception)
    wrong = store(shop, "gc", "--yes", "--max-unseen", "x")
    assert (wrong.exit_code, "'--max-unseen': 'x': pass a number" in wrong.output) == (2, True)
    assert store(shop, "gc", "--yes", "--max-unseen", "1").exit_code == 0


def test_gc_refuses_if_a_local_image_is_missing(shop):
    (shop.folder / "images" / "3.png").unlink()
    assert "1 image cannot be looked at (not found 1)" in str(store(shop, "gc", "--yes", "--grace", "0s").exception)
    assert space(shop)["rows"] == 10


def test_a_grace_that_is_not_a_duration_is_a_mistake_in_usage(shop):
    wrong = store(shop, "gc", "--grace", "soon")
    assert (wrong.exit_code, "'--grace': soon: not a duration" in wrong.output) == (2, True)


def gc_models(shop: SmallShop, *arguments: str, model: str = "model-2", answer: str = "") -> Result:
    where = ["--data", str(shop.settings.data), "--catalog", str(shop.settings.catalog), "--model", model]
    with shop.faked():
        return CliRunner().invoke(cli, ["store", "gc", "--old-models", *where, *arguments], input=answer)


def models(shop: SmallShop) -> list[str]:
    return sorted(found["model"] for found in json.loads(store(shop, "info", "--json").output))


def test_a_model_whose_collection_is_kept_for_a_rollback_is_never_dropped(shop):
    shop.run(model="model-2")
    result = gc_models(shop, "--yes", "--grace", "0s")
    assert (result.exit_code, result.output) == (0, "every model of the store is used\nnothing was dropped\n")
    served = gc_models(shop, "--yes", "--grace", "0s", model="model-3")
    assert "every model of the store is used" in served.output, "whatever the settings name, apps use both"
    assert models(shop) == ["model-1", "model-2"]


def drop_previous(shop: SmallShop) -> None:
    with shop.connection() as connection:
        (old,) = [version.name for version in versions.list_versions(connection, "products") if not version.serves]
        versions.drop(connection, "products", old)


def test_an_old_model_is_dropped_when_no_collection_is_left_and_comes_back_from_the_trash(shop):
    shop.run(model="model-2")
    drop_previous(shop)
    young = gc_models(shop, "--yes")
    assert young.output.endswith("nothing was dropped\n"), "younger than the grace period"
    shown = gc_models(shop, "--dry-run")
    assert "10 rows, " in shown.output
    assert "model-1\ndropping them frees " in shown.output
    declined = gc_models(shop, "--grace", "0s", answer="n\n")
    assert (declined.exit_code, declined.output.splitlines()[-1]) == (0, "nothing was dropped")
    assert models(shop) == ["model-1", "model-2"]

    assert gc_models(shop, "--grace", "0s", answer="y\n").output.endswith("10 rows dropped\n")
    assert models(shop) == ["model-2"]
    assert "10 vectors restored" in store(shop, "restore").output
    assert models(shop) == ["model-1", "model-2"]

    assert gc_models(shop, "--yes", "--grace", "0s").output.endswith("10 rows dropped\n")
    assert gc_models(shop, "--yes", "--grace", "0s").output.endswith("nothing was dropped\n")
    assert "0 vectors restored" in store(shop, "restore").output, "the next gc has emptied the trash"


def test_without_a_look_at_milvus_no_model_is_dropped(shop, tmp_path):
    shop.run(model="model-2")
    drop_previous(shop)
    result = gc_models(shop, "--yes", "--grace", "0s", "--uri", str(tmp_path / "other.db"))
    assert isinstance(result.exception, MilvusError)
    assert models(shop) == ["model-1", "model-2"]


def test_a_collection_that_does_not_say_its_model_keeps_all(shop):
    shop.run(model="model-2")
    drop_previous(shop)
    with shop.connection() as connection:
        connection.client.create_collection("strange", dimension=4)
        connection.client.alter_collection_properties("strange", {"ingest.contract": "{"})
    result = gc_models(shop, "--yes", "--grace", "0s")
    assert isinstance(result.exception, PruneRefusedError)
    assert models(shop) == ["model-1", "model-2"]
