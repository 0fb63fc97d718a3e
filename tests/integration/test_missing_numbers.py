"""Products without a price against a real server, which keeps NaN: found out by a probe that leaves nothing behind."""

from __future__ import annotations

import csv
import json
import math
from typing import TYPE_CHECKING

import pytest
from support.shop import Shop, client_of, contract_in, copied_sample_model, rows_of, sample_products

from ingest.milvus import null_probe

if TYPE_CHECKING:
    from pathlib import Path

PRODUCTS = 12
UNPRICED = {"P0002", "P0005"}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path / "shop", copied_sample_model(tmp_path / "clip"))
    products = [dict(product) for product in sample_products(PRODUCTS)]
    for product in products:
        product["price"] = "" if product["product_id"] in UNPRICED else product["price"]
    shop.stock(products)
    return shop


def test_missing_prices_are_kept_as_nan_and_shown_by_nobody(shop: Shop, milvus_uri: str, collection_name: str) -> None:
    to = ("--uri", milvus_uri, "--schema", contract_in(shop.folder, collection_name))
    assert shop.run(*to)["upserted"] == PRODUCTS
    with client_of(milvus_uri) as client:
        [made] = [name for name in client.list_collections() if name.startswith(collection_name)]
        kept = json.loads(client.describe_collection(made)["properties"][null_probe.PROPERTY])
        assert kept == {"version": client.get_server_version(), "keeps": "nan"}
    stored = rows_of(milvus_uri, collection_name)
    assert {name for name, row in stored.items() if math.isnan(row["price"])} == UNPRICED

    hits = {hit["product_id"]: hit["price"] for hit in shop.search("--product", "P0001", "--limit", "50", *to)}
    assert {name for name, price in hits.items() if price is None} == UNPRICED
    table = shop.ingest("search", "--product", "P0001", "--limit", "50", "--csv", *to)
    prices = {row["product_id"]: row["price"] for row in csv.DictReader(table.out.splitlines())}
    assert {name for name, price in prices.items() if price == ""} == UNPRICED
    for expression, finds in (
        ("price < 1000000", hits.keys() - UNPRICED),
        ("not (price < 1000000)", UNPRICED),
        ("not (price > -1e300)", UNPRICED),
        ("price != 0", hits.keys()),
    ):
        filtered = shop.search("--product", "P0001", "--limit", "50", "--filter", expression, *to)
        assert {hit["product_id"] for hit in filtered} == finds, expression

    assert shop.ingest("verify", *to).code == 0
    exported = json.loads(shop.npy_ids.read_text("utf-8"), parse_constant=pytest.fail)
    assert len(exported) == PRODUCTS
    assert shop.run(*to)["upserted"] == 0
    plan = shop.ingest("plan", "--json", *to)
    assert (plan.json["unchanged"], plan.json["also"]) == (PRODUCTS, [])
