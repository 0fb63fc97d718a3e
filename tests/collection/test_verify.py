"""`ingest verify` finds whatever differs, says so, and a repair heals it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.small_shop import FIVE, SmallShop, picture_vector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pymilvus import MilvusClient

SIX = FIVE | {"twin": (1, "same picture")}


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    shop = SmallShop(tmp_path)
    shop.stock(SIX)
    shop.run(exports=True)
    return shop


def test_what_a_run_leaves_is_right(shop: SmallShop) -> None:
    shop.stock(SIX | {"P1": (None, "fails now"), "bad": (None, "never there")})
    shop.run(exports=True)

    verdict = shop.verify(exports=True)

    assert verdict.differing == []
    assert (verdict.rows, verdict.products, verdict.sampled, verdict.overlap) == (5, 7, 5, 1.0)
    assert any("as it last was" in note for note in verdict.notes)


def test_a_picture_that_hundreds_share_keeps_no_collection_from_being_served(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path)
    shop.stock({f"P{number:04d}": (number % 6, f"Product {number}") for number in range(1500)})

    shop.run(exports=True)

    verdict = shop.verify(exports=True)
    assert (verdict.differing, verdict.rows, verdict.overlap) == ([], 1500, 1.0)


def lose_a_row(client: MilvusClient, name: str, _shop: SmallShop) -> None:
    client.delete(name, filter='product_id == "P2"')


def change_a_vector(client: MilvusClient, name: str, _shop: SmallShop) -> None:
    row = client.query(name, filter='product_id == "P2"', output_fields=["*"])[0]
    client.upsert(name, [row | {"embedding": picture_vector("elsewhere", 2)}])


def change_a_digest(client: MilvusClient, name: str, _shop: SmallShop) -> None:
    row = client.query(name, filter='product_id == "P2"', output_fields=["*"])[0]
    client.upsert(name, [row | {"row_digest": "0" * 32}])


def drop_it(client: MilvusClient, name: str, _shop: SmallShop) -> None:
    client.drop_collection(name)


def drop_the_alias(client: MilvusClient, _name: str, _shop: SmallShop) -> None:
    client.drop_alias("products")


def flip_a_bit(path: Callable[[SmallShop], Path]) -> Callable[..., None]:
    def flip(_client: MilvusClient, _name: str, shop: SmallShop) -> None:
        content = bytearray(path(shop).read_bytes())
        content[-3] ^= 1
        path(shop).write_bytes(content)

    return flip


def index_file(ending: str) -> Callable[[SmallShop], Path]:
    return lambda shop: shop.settings.indexes / f"hnsw_clip_8{ending}"


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lose_a_row, "row"),
        (change_a_digest, "row"),
        (change_a_vector, "vector"),
        (drop_it, "collection"),
        (drop_the_alias, "alias"),
        (flip_a_bit(lambda shop: shop.settings.npy), "file"),
        (flip_a_bit(lambda shop: shop.settings.npy_ids), "file"),
        (flip_a_bit(index_file(".faiss")), "file"),
        (flip_a_bit(index_file(".pkl")), "file"),
        (flip_a_bit(index_file("_product_ids.json")), "file"),
    ],
)
def test_what_differs_is_found_and_healed(shop: SmallShop, damage: Callable[..., Any], kind: str) -> None:
    before = shop.rows()
    with shop.client() as client:
        client.load_collection("products")
        damage(client, client.describe_collection("products")["collection_name"], shop)

    assert kind in {found.kind for found in shop.verify(exports=True).differing}

    assert shop.repair(exports=True).differing == []
    assert shop.rows() == before


def test_the_advice_about_a_file_writes_it(shop: SmallShop) -> None:
    """Only a run knows which image a row of the collection has; only a repair looks past a file's size."""
    shop.redraw(1, 31)
    shop.run()
    shop.stock(SIX | {"P1": (None, "fails now")})

    (found,) = shop.verify(exports=True).differing
    assert found.detail.endswith("another catalog or model; write it with: ingest run")
    shop.run(exports=True)
    assert shop.verify(exports=True).differing == []

    with shop.client() as client:
        flip_a_bit(index_file(".pkl"))(client, "products", shop)
    (found,) = shop.verify(exports=True).differing
    assert found.detail.endswith("; write it with: ingest verify --repair")
    assert shop.repair(exports=True).differing == []
