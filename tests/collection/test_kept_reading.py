"""A catalog that can be read in two ways is read as by the last good run, also by what opens no collection."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

import pyarrow.parquet
import pytest
from support.small_shop import SmallShop

from ingest.catalog import kept_profiles
from ingest.core.errors import AmbiguousCatalogError
from ingest.milvus import null_probe
from ingest.pipeline.progress import Progress
from ingest.tasks import doctor, export, fetch, garbage

if TYPE_CHECKING:
    from pathlib import Path

OPEN = "product_id\timage\tprice\nP0\timages/0.png\t1,299\n"
"""A catalog with a number that may be two."""


def rewrite(shop: SmallShop, content: str) -> None:
    shop.settings.catalog.write_bytes(content.encode())


def test_commands_without_a_collection_read_the_catalog_as_the_last_run_did(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path)
    shop.stock({"P0": (0, "cup"), "P1": (1, "mug")})
    table = "product_id\timage\tprice\nP0\timages/0.png\t1.299\nP1\timages/1.png\t{}\n"
    settings = replace(shop.settings, exports=True, parquet=True)
    rewrite(shop, table.format("1.049,00"))
    shop.run(exports=True, parquet=True)
    rewrite(shop, table.format("2.450"))
    shop.run(exports=True, parquet=True)
    with shop.faked():
        export.export(settings, Progress(), threading.Event())
    exported = pyarrow.parquet.read_table(settings.data / "embeddings" / "products.parquet")
    assert exported["price"].to_pylist() == [1299.0, 2450.0]
    with shop.faked():  # a flag wins
        export.export(replace(settings, decimal="point"), Progress(), threading.Event())
    exported = pyarrow.parquet.read_table(settings.data / "embeddings" / "products.parquet")
    assert exported["price"].to_pylist() == [1.299, 2.45]


def test_a_number_that_may_be_two_is_read_as_last_time_by_every_command(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path)
    shop.stock({"P0": (0, "cup")})
    rewrite(shop, OPEN)
    with pytest.raises(AmbiguousCatalogError):
        fetch.fetch(shop.settings, Progress(), threading.Event())
    shop.run(decimal="comma")
    assert fetch.fetch(shop.settings, Progress(), threading.Event()).pictures == 1
    assert doctor._catalog(shop.settings).exit_code == 0
    with shop.faked():
        assert garbage.collect_garbage(
            shop.settings, Progress(), threading.Event(), garbage.GarbageOptions(also=[shop.settings]),
            lambda _keys, _young: True,
        ) == 0  # fmt: skip
    (shop.settings.data / kept_profiles.FILE).unlink()
    with pytest.raises(AmbiguousCatalogError):
        fetch.fetch(shop.settings, Progress(), threading.Event())
    assert shop.run().summary.unchanged == 1, "the collection knows it too"
    assert fetch.fetch(shop.settings, Progress(), threading.Event()).pictures == 1


def test_missing_numbers_are_looked_for_when_it_is_known_how_the_catalog_is_read(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path)
    shop.stock({"P0": (0, "cup")})
    rewrite(shop, OPEN)
    shop.run(decimal="comma")
    (shop.settings.data / kept_profiles.FILE).unlink()
    for name in ("recall", "adapt"):
        found = getattr(null_probe, name)
        refusing = mock.patch.object(
            null_probe, name, lambda *args, found=found: replace(found(*args), refused=("price",))
        )
        with refusing:
            unchanged = shop.plan().unchanged if name == "recall" else shop.run().summary.unchanged
        assert unchanged == 1
