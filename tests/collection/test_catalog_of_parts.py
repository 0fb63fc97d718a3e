"""Runs over catalogs of many files: the rows of the one file, and nothing is deleted where a file does not come."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
from support.bucket import IGNORED
from support.object_storage import BUCKET
from support.shop import write_csv
from support.small_shop import SmallShop

from ingest.core.errors import PruneRefusedError, StorageError

pytestmark = IGNORED

PARTS = 6
PRODUCTS = 30


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    """A shop whose catalog also lies beside it in parts; the file itself stays."""
    shop = SmallShop(tmp_path / "shop")
    shop.stock({f"P{number:02d}": (number, f"Title {number}") for number in range(PRODUCTS)})
    with shop.settings.catalog.open(encoding="utf-8", newline="") as file:
        products = list(csv.DictReader(file))
    each = PRODUCTS // PARTS
    for number in range(PARTS):
        write_csv(shop.folder / f"part-{number}.csv", products[number * each : (number + 1) * each])
    return shop


def uploaded(shop: SmallShop, folder: str) -> str:
    client = boto3.client("s3")
    for part in shop.folder.glob("part-*.csv"):
        client.put_object(Bucket=BUCKET, Key=f"{folder}/{part.name}", Body=part.read_bytes())
    client.close()
    return f"s3://{BUCKET}/{folder}/"


def exports(shop: SmallShop) -> list[bytes]:
    return [shop.settings.npy.read_bytes(), shop.settings.npy_ids.read_bytes()]


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_a_run_over_parts_gives_the_rows_and_files_of_the_one_file(shop, storage, tmp_path, where):
    other = SmallShop(tmp_path / "other", images_root=shop.folder)
    catalog = shop.folder / "part-*.csv" if where == "disk" else uploaded(shop, "same")
    other.settings = replace(other.settings, catalog=catalog)
    shop.run(exports=True)
    summary = other.run(exports=True).summary
    assert (summary.products, summary.upserted, summary.skipped) == (PRODUCTS, PRODUCTS, 0)
    assert other.rows() == shop.rows()
    assert exports(other) == exports(shop)
    assert other.verify().differing == []
    assert other.run().summary.unchanged == PRODUCTS
    assert other.plan().gone == 0


def test_a_part_that_is_cut_off_costs_its_last_line_and_nothing_is_deleted(shop):
    shop.run()
    part = shop.folder / "part-4.csv"
    kept = part.read_text(encoding="utf-8").splitlines(keepends=True)[:3]
    part.write_text("".join(kept) + 'P22,images/22.png,"Titl', encoding="utf-8")
    with pytest.raises(PruneRefusedError, match="1 rows of the catalog cannot be read"):
        shop.run(catalog=shop.folder / "part-*.csv", prune=True, max_prune=1.0)
    assert len(shop.rows()) == PRODUCTS


@pytest.mark.parametrize("fault", ["500", "cut"])
@pytest.mark.parametrize("part", ["part-3.csv", "list-type"])
def test_a_part_that_does_not_come_ends_the_run_before_anything_is_deleted(shop, storage, fault, part):
    catalog = uploaded(shop, "faulty")
    changes = {"catalog": catalog, "images_root": shop.folder, "prune": True, "max_prune": 1.0}
    shop.run()
    storage.fail(*[fault] * 99, part=part)
    with pytest.raises(StorageError, match=rf"s3://{BUCKET}/faulty.* cannot be (read|listed|looked up)"):
        shop.run(**changes)
    assert len(shop.rows()) == PRODUCTS
    storage.faults.clear()
    assert shop.run(**changes).summary.unchanged == PRODUCTS


def test_relative_pictures_of_a_catalog_behind_a_url_need_a_folder(shop, storage):
    outcome = shop.run(catalog=uploaded(shop, "folderless"))
    with Path(outcome.places["skipped"]).open(encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    assert first == {
        "product_id": "P00", "stage": "images", "reason": "disallowed", "line": "2", "file": "part-0.csv",
        "detail": "images/0.png: a catalog behind a URL has no folder; name one with --images-root",
    }  # fmt: skip
    assert outcome.summary.reasons == {"disallowed": PRODUCTS}
