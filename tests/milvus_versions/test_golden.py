"""The requests of whole runs, recorded for each version: a change of pymilvus, or of ours, shows as a diff.

    RECORD=1 .venv/bin/python -m pytest tests/milvus_versions/test_golden.py

records the files in `golden/` again. Check that each difference is intended before you commit it.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.shop import contract_in, write_csv
from support.small_shop import FIVE, SmallShop, picture_vector

from ingest.core.settings import MilvusSettings
from ingest.milvus import versions
from ingest.milvus.connection import connect
from ingest.search.milvus_backend import SearchableCollection
from milvus_versions.golden import Writer
from milvus_versions.standin.catalog import Database

if TYPE_CHECKING:
    from collections.abc import Callable

    from milvus_versions.standin.server import Server

GOLDEN = Path(__file__).parent / "golden"
DATABASE = "shop"
ROWS = {"P0": "9.5", 'P"1': "", "日本": "20", "P3": "0", "P4": "7"}


def shop_of(server: Server, folder: Path) -> SmallShop:
    schema = contract_in(folder, "products", "\n[collection]\nreplicas = 2\n")
    text = schema.read_text(encoding="utf-8")
    schema.write_text(text.replace("default = nan", "default = nan\nmissing = -1 #", 1), encoding="utf-8")
    shop = SmallShop(folder, server.uri, schema=schema, db_name=DATABASE, load="upsert")
    shop.stock(FIVE)
    stock(shop, ROWS)
    return shop


def stock(shop: SmallShop, prices: dict[str, str]) -> None:
    pictures = {name: number for number, name in enumerate(ROWS)}
    rows = [
        {"product_id": name, "image": f"images/{pictures[name]}.png", "title": "ü", "price": price, "size": "XL"}
        for name, price in prices.items()
    ]
    write_csv(shop.settings.catalog, rows)


def steps(shop: SmallShop) -> dict[str, Callable[[], object]]:
    """Return the steps in order, by their names in the file."""
    settings = shop.settings

    def connected(act: Callable[..., object]) -> object:
        with connect(MilvusSettings(settings.uri, db_name=DATABASE, max_wait=5)) as connection:
            return act(connection)

    def another_index() -> object:
        text = settings.schema.read_text(encoding="utf-8")
        settings.schema.write_text(text.replace("M = 16 ", "M = 24 "), encoding="utf-8")
        return shop.run()

    def changed() -> object:
        stock(shop, {name: price for name, price in (ROWS | {"P3": "3"}).items() if name != "P4"})
        return shop.run(prune=True)

    return {
        "run": shop.run,
        "run with nothing changed": shop.run,
        "plan": shop.plan,
        "run --prune, a product changed and one gone": changed,
        "verify": shop.verify,
        "search": lambda: connected(
            lambda connection: SearchableCollection(connection, "products").search(
                picture_vector("model-1", 0), 3, "price < 20"
            )
        ),
        "run with another index": another_index,
        "collections": lambda: connected(lambda connection: versions.list_versions(connection, "products")),
        "rollback": lambda: connected(lambda connection: versions.rollback(connection, "products")),
    }


def test_the_requests_are_the_recorded_ones(server: Server, dialect: str, tmp_path: Path) -> None:
    server.catalog.databases[DATABASE] = Database(DATABASE)
    shop, writer = shop_of(server, tmp_path), Writer()
    lines: list[str] = []
    for name, act in steps(shop).items():
        server.forget()
        act()
        lines += [f"=== {name} ===", *writer.lines(server.requests())]
    text = "\n".join(lines) + "\n"
    path = GOLDEN / f"{dialect}.txt"
    if os.environ.get("RECORD"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    recorded = path.read_text(encoding="utf-8")
    if text != recorded:
        found = difflib.unified_diff(recorded.splitlines(), lines, "recorded", "now", lineterm="", n=4)
        pytest.fail("the requests differ from the recorded ones:\n" + "\n".join(found), pytrace=False)
