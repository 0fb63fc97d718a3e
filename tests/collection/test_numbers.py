"""A warehouse's numbers in the collection: the very digits of the catalog, there and back."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import parquet
from support.small_shop import FIVE, SmallShop

if TYPE_CHECKING:
    from pathlib import Path


def test_digits_of_a_warehouse_are_those_of_the_collection_and_stay_in_place(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path / "shop")
    shop.stock(FIVE)
    supplier = [Decimal(123456789012345678), Decimal(2**63 - 1), Decimal(5), Decimal(10**30), None]
    weight = [Decimal("1.10"), Decimal("12345678901234567.89"), Decimal("5.00"), None, None]
    table = {
        "product_id": list(FIVE),
        "image": [f"images/{number}.png" for number in range(5)],
        "supplier": pa.array(supplier, pa.decimal128(38, 0)),
        "weight": pa.array(weight, pa.decimal128(38, 2)),
    }
    parquet.write_table(pa.table(table), shop.folder / "warehouse.parquet")
    shop.run(catalog=shop.folder / "warehouse.parquet")
    rows = shop.rows()
    told = [rows[name].get("supplier") for name in FIVE]
    assert told == [123456789012345678, 2**63 - 1, 5, "1" + "0" * 30, None]
    assert [rows[name].get("weight") for name in FIVE] == [1.1, "12345678901234567.89", 5.0, None, None]
    assert shop.run(catalog=shop.folder / "warehouse.parquet").summary.unchanged == len(FIVE)
