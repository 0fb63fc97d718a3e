"""A missing price as NaN and as null in a real collection, Milvus Lite's: what is read back, and what filters find."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.shop import contract_in, write_csv
from support.small_shop import FIVE, SmallShop, picture_vector

from ingest.core import missing_numbers
from ingest.core.missing_numbers import Keeps
from ingest.milvus import null_probe
from ingest.search.milvus_backend import SearchableCollection

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.core.contract import Contract

PRICES = {"P0": "9.5", "P1": "", "P2": "20", "P3": "30", "P4": ""}


@pytest.fixture(params=[Keeps.NAN, Keeps.NULL])
def keeps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Keeps:
    """Return how Milvus Lite, which takes both, keeps missing numbers in this test."""
    keeps: Keeps = request.param

    def found(_connection: Any, contract: Contract, _space: Any) -> null_probe.ProbeResult:
        return null_probe.ProbeResult(missing_numbers.on_server(contract, keeps))

    monkeypatch.setattr(null_probe, "adapt", found)
    monkeypatch.setattr(null_probe, "recall", found)
    return keeps


@pytest.fixture
def shop(tmp_path: Path, keeps: Keeps) -> SmallShop:
    shop = SmallShop(tmp_path, schema=contract_in(tmp_path, "products"))
    shop.stock(FIVE)
    rows = [
        {"product_id": name, "image": f"images/{picture}.png", "title": title, "price": PRICES[name]}
        for name, (picture, title) in FIVE.items()
    ]
    write_csv(shop.settings.catalog, rows)
    shop.run()
    return shop


def found(shop: SmallShop, expression: str = "") -> dict[str, Any]:
    with shop.connection() as connection:
        hits = SearchableCollection(connection, "products").search(picture_vector("model-1", 0), 10, expression)
    return {hit.product_id: hit.metadata["price"] for hit in hits}


def test_it_is_missing_and_proven_and_written_once(shop: SmallShop) -> None:
    assert found(shop) == {"P0": 9.5, "P1": None, "P2": 20.0, "P3": 30.0, "P4": None}
    assert not shop.verify().differing
    assert shop.run().summary.unchanged == 5
    assert shop.plan().also == []


def test_a_row_without_a_price_that_has_one_is_found_and_repaired(shop: SmallShop) -> None:
    name = shop.rows() and shop.releases()[0].name
    with shop.client() as client:
        client.load_collection(name)
        [row] = client.query(name, filter='product_id == "P1"', output_fields=["*"])
        client.upsert(name, [row | {"price": 5.0}])
    [fault] = shop.verify().differing
    assert (fault.name, fault.detail) == ("P1", "price is 5.0, not unknown")
    assert not shop.repair().differing


@pytest.mark.parametrize(
    ("expression", "finds"),
    [
        ("price < 25", {"P0", "P2"}),
        ("price >= 25", {"P3"}),
        ("price in [20.0, 30.0]", {"P2", "P3"}),
    ],
)
def test_comparisons_do_not_find_it(shop: SmallShop, expression: str, finds: set[str]) -> None:
    assert found(shop, expression).keys() == finds


def test_only_null_stays_missing_under_not(shop: SmallShop, keeps: Keeps) -> None:
    assert found(shop, "not (price < 25)").keys() == {"P3"} | ({"P1", "P4"} if keeps is Keeps.NAN else set())
    assert found(shop, "price != 20.0").keys() == {"P0", "P3"} | ({"P1", "P4"} if keeps is Keeps.NAN else set())
    missing_ones = {Keeps.NAN: "not (price > -1e300)", Keeps.NULL: "price is null"}
    assert found(shop, missing_ones[keeps]).keys() == {"P1", "P4"}
