"""A shop at a stand-in server: a database of its own, two replicas, odd ids, missing prices, wide rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.shop import Shop, contract_in, sample_products

from milvus_versions.standin.catalog import Database

if TYPE_CHECKING:
    from pathlib import Path

    from milvus_versions.standin.catalog import Collection
    from milvus_versions.standin.server import Request, Server

DATABASE = "shop"
REPLICAS = 2
ODD = ['a"b', "it's", "back\\slash", "日本 1", "🙂"]
UNPRICED = {ODD[0], ODD[3], "P0006"}
WIDE = 60_000  # characters of one value, of 65,536 bytes that the dynamic field of a row may have
IDS = [*ODD, "P0006", "P0007", "P0008"]

READS = frozenset({
    "Connect", "GetVersion", "AllocTimestamp", "ListDatabases", "DescribeDatabase", "ShowCollections", "HasCollection",
    "DescribeCollection", "DescribeIndex", "DescribeAlias", "ListAliases", "GetLoadState", "GetLoadingProgress",
    "GetReplicas", "GetCollectionStatistics", "Query", "Search", "ListImportTasks", "GetImportState",
})  # fmt: skip
"""Methods that change nothing and load nothing."""


@dataclass
class Served:
    """A shop, its server, and the requests of its first run."""

    shop: Shop
    server: Server
    ran: list[Request] = field(default_factory=list)

    @property
    def collection(self) -> Collection:
        """The collection that the alias serves."""
        found: Collection = self.server.collection("products", DATABASE)
        return found

    def writes(self) -> list[str]:
        """Return the methods of the requests that write or load."""
        return [request.method for request in self.server.requests() if request.method not in READS]


def open_for(folder: Path, model: Path, server: Server) -> Served:
    """Make a shop in `folder` whose settings name this server, or use the existing one."""
    server.catalog.databases.setdefault(DATABASE, Database(DATABASE))
    shop = Shop(folder, model)
    settings = {"uri": server.uri, "db_name": DATABASE, "schema": "contract.toml", "max_wait": 5, "device": "cpu"}
    with (folder / "ingest.toml").open("a", encoding="utf-8") as file:
        file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    contract = contract_in(folder, "products", f"\n[collection]\nreplicas = {REPLICAS}\n")
    text = contract.read_text(encoding="utf-8")
    contract.write_text(text.replace("default = nan", "default = nan\nmissing = -1 #", 1), encoding="utf-8")
    shop.stock(catalog())
    return Served(shop, server)


def catalog() -> list[dict[str, str]]:
    """Return the sample's first products, some with odd ids, some without a price, two with very wide rows."""
    products = sample_products(len(IDS))
    for product, name in zip(products, IDS, strict=True):
        product["product_id"] = name
        product["price"] = "" if name in UNPRICED else product["price"]
        product["blurb"] = "ü" * (WIDE // 2) if name in ("P0007", ODD[1]) else ""
    return products


def prices(served: Served) -> dict[str, Any]:
    """Return each product's price as the collection keeps it."""
    return {name: row["price"] for name, row in sorted(served.collection.rows.items())}
