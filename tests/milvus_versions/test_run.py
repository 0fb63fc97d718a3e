"""Runs of a small shop, in this process, against each version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.small_shop import FIVE, SmallShop

if TYPE_CHECKING:
    from pathlib import Path

    from milvus_versions.standin.server import Server


@pytest.mark.parametrize("dialect", ["2.3.5"], indirect=True)
def test_a_second_run_writes_nothing(server: Server, tmp_path: Path) -> None:
    shop = SmallShop(tmp_path, server.uri)
    shop.stock(FIVE)
    assert shop.run().summary.upserted == 5
    server.forget()
    assert shop.run().summary.unchanged == 5
    assert not server.requests("Upsert", "Insert", "Delete", "Flush", "CreateCollection", "AlterAlias")


@pytest.mark.parametrize("dialect", ["2.3.5"], indirect=True)
def test_a_product_that_is_gone_is_pruned_and_the_rest_is_proven(server: Server, tmp_path: Path) -> None:
    shop = SmallShop(tmp_path, server.uri)
    shop.stock(FIVE)
    shop.run()
    shop.stock({name: product for name, product in FIVE.items() if name != "P1"})
    assert shop.run(prune=True).summary.deleted == 1
    assert sorted(shop.rows()) == ["P0", "P2", "P3", "P4"]
    assert not shop.verify().differing
