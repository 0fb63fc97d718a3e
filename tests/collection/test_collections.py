"""Model and schema changes fill a new collection beside the old one; the alias moves, and moves back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.small_shop import FIVE, SmallShop, checkpoint, picture_vector

from ingest.core import contract_file
from ingest.core.contract_file import default_path
from ingest.core.errors import MilvusError, VerificationError
from ingest.milvus import versions
from ingest.milvus.collection import Collection

if TYPE_CHECKING:
    from pathlib import Path


def test_another_model_fills_a_collection_beside_the_old_one_and_rollback_goes_back(shop: SmallShop) -> None:
    before = shop.rows()
    shop.run(model="model-2")

    assert shop.rows()["P1"]["embedding"] == pytest.approx(picture_vector("model-2", 1))
    new, old = shop.releases()
    assert (new.serves, new.model, new.rows, new.dim) == (True, "model-2", 5, 8)
    assert (old.serves, old.model, old.rows) == (False, "model-1", 5)
    assert old.built <= old.last_served <= new.last_served

    with shop.connection() as connection:
        assert versions.rollback(connection, "products") == versions.Rollback(old.name, 5, new.name, 5)
    assert shop.rows() == before
    with shop.connection() as connection:
        assert versions.rollback(connection, "products").serves == new.name, "and back again"
    assert shop.run(model="model-2").summary.upserted == 0


def test_another_schema_embeds_nothing(shop: SmallShop, tmp_path: Path) -> None:
    contract = default_path().read_text(encoding="utf-8")
    (tmp_path / "contract.toml").write_text(contract.replace("M = 16 ", "M = 24 "), encoding="utf-8")
    before, embedded = shop.rows(), shop.embedded

    summary = shop.run(schema=tmp_path / "contract.toml").summary

    assert (summary.upserted, shop.embedded) == (5, embedded)
    assert shop.rows() == before
    assert len(shop.releases()) == 2


def test_rollback_without_a_collection_before_is_an_error(shop: SmallShop) -> None:
    with shop.connection() as connection, pytest.raises(MilvusError, match="there is no collection that products"):
        versions.rollback(connection, "products")


def test_pruning_keeps_the_served_one_the_newest_before_and_one_being_filled(shop: SmallShop) -> None:
    for model in ("model-2", "model-3"):
        shop.run(model=model)
    shop.run(model="model-4", sample=2)
    found = shop.releases()
    assert [release.model for release in found] == ["model-3", "model-2", "model-1", "model-4"]

    assert [release.model for release in versions.select_prunable(found, 1)] == ["model-1"]
    assert [release.model for release in versions.select_prunable(found, 0)] == ["model-2", "model-1"]
    assert versions.select_prunable(found, 2) == []
    with shop.connection() as connection:
        versions.drop(connection, "products", found[2].name)
        with pytest.raises(MilvusError, match="is not dropped, because the alias products points to it"):
            versions.drop(connection, "products", found[0].name)
    assert len(shop.releases()) == 3


def test_an_alias_whose_collection_was_dropped_serves_again(shop: SmallShop) -> None:
    before = shop.rows()
    name = shop.releases()[0].name
    with shop.client() as client:
        client.drop_collection(name)

    shop.run()

    assert shop.rows() == before


def test_an_alias_that_somebody_else_has_set_meanwhile_is_left_to_them(shop: SmallShop) -> None:
    shop.run()
    with shop.connection() as connection:
        collection = Collection(connection, contract_file.load(default_path()), checkpoint("model-1").space)
        collection.check_not_taken()
        client = connection.client
        client.create_collection("theirs", dimension=4)
        client.alter_alias("theirs", "products")
        for ours in (
            collection.check_not_taken,
            lambda: collection.switch_alias(None),
            lambda: collection.switch_alias("another"),
        ):
            with pytest.raises(MilvusError, match="somebody else has moved the alias products to theirs meanwhile"):
                ours()
        assert collection.alias_target() == "theirs"
        collection.switch_alias("theirs")
        assert collection.alias_target() == collection.name


def test_the_alias_stays_where_the_new_collection_is_not_what_it_should_be(
    shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shop.rows()
    flush = Collection.flush

    def lose_one(collection: Collection) -> None:
        collection.delete(["P3"])
        flush(collection)

    monkeypatch.setattr(Collection, "flush", lose_one)
    with pytest.raises(VerificationError, match="row P3 is missing; the alias products was not moved"):
        shop.run(model="model-2")
    assert shop.rows() == before

    monkeypatch.undo()
    assert shop.run(model="model-2").summary.upserted == 1
    assert len(shop.rows()) == 5
    assert shop.rows() != before


def test_a_partition_key_builds_a_new_collection_and_more_replicas_do_not(shop: SmallShop, tmp_path: Path) -> None:
    shipped = default_path().read_text(encoding="utf-8")
    schema = tmp_path / "contract.toml"
    schema.write_text(f'{shipped}\n[collection]\nshards = 2\npartition_key = "title"\n', encoding="utf-8")
    before = shop.rows()

    assert shop.run(schema=schema).summary.upserted == 5
    assert shop.rows() == before
    schema.write_text(schema.read_text(encoding="utf-8") + "replicas = 1\n", encoding="utf-8")
    assert shop.run(schema=schema).summary.upserted == 0
    assert len(shop.releases()) == 2

    shop.stock({**FIVE, "P1": (1, "Moved to another partition")})
    assert shop.run(schema=schema).summary.upserted == 1
    assert shop.rows()["P1"]["title"] == "Moved to another partition"
    assert not shop.verify(schema=schema).differing
