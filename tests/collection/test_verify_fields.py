"""`ingest verify` compares what people search by, row by row, and the bytes of images where it is asked to."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from support.shop import ROOT, write_csv
from support.small_shop import FIVE, SmallShop

from ingest.cli.main import cli
from ingest.milvus import field_checks
from ingest.milvus.collection import Collection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MORE = """
[[fields]]
name = "weight"
type = "FLOAT"
default = nan

[[fields]]
name = "stock"
type = "INT64"
default = 0

[[fields]]
name = "new"
type = "BOOL"
default = false
"""


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    """Five products with a field of each type and one of the catalog's own; the price of the last is not known."""
    schema = tmp_path / "contract.toml"
    schema.write_text((ROOT / "schema" / "products.toml").read_text(encoding="utf-8") + MORE, encoding="utf-8")
    shop = SmallShop(tmp_path, schema=schema)
    shop.stock(FIVE)
    write_csv(
        tmp_path / "products.csv",
        [
            {
                "product_id": f"P{number}", "image": f"images/{number}.png", "title": f"Mug {number}", "weight": "0.1",
                "price": f"{number}.99" if number < 4 else "", "stock": str(number), "new": "true", "season": "summer",
            }
            for number in range(5)
        ],
    )  # fmt: skip
    shop.run()
    return shop


def meddle(shop: SmallShop, product_id: str, **values: Any) -> None:
    """Change fields of a row, and leave its digest alone."""
    with shop.client() as client:
        client.load_collection("products")
        name = client.describe_collection("products")["collection_name"]
        row = client.query(name, filter=f'product_id == "{product_id}"', output_fields=["*"])[0]
        client.upsert(name, [row | values])


def test_it_says_what_was_proven(shop: SmallShop) -> None:
    verdict = shop.verify()

    assert verdict.differing == []
    assert verdict.proven == "5 of 5 rows: ids, digests, fields; 5 vectors bit for bit"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("title", "Cup", 'title is "Cup", not "Mug 2"'),
        ("weight", 0.25, "weight is 0.25, not 0.1"),
        ("price", 99.0, "price is 99.0, not 2.99"),
        ("price", float("nan"), "price is unknown, not 2.99"),
        ("stock", 7, "stock is 7, not 2"),
        ("new", False, "new is false, not true"),
        ("season", "winter", 'season is "winter", not "summer"'),
        ("origin", "Portugal", 'origin is "Portugal", not missing'),
    ],
)
def test_a_field_that_was_changed_in_milvus_is_found_and_healed(
    shop: SmallShop, field: str, value: Any, told: str
) -> None:
    before = shop.rows()
    meddle(shop, "P2", **{field: value})

    found = shop.verify()

    assert [(fault.kind, fault.name, fault.detail) for fault in found.differing] == [("field", "P2", told)]
    assert found.proven.startswith("4 of 5 rows: ids, digests, fields;")
    assert shop.repair().differing == []
    assert shop.rows() == before


@pytest.mark.parametrize("drawn", [5, 0])
@pytest.mark.parametrize("named", ["ab" * 32, "no digits"])
def test_a_row_that_names_another_image_is_found_and_healed_drawn_or_not(
    shop: SmallShop, monkeypatch: pytest.MonkeyPatch, named: str, drawn: int
) -> None:
    monkeypatch.setattr(field_checks, "ALL_UP_TO", 0)
    monkeypatch.setattr(field_checks, "DRAWN", drawn)
    before = shop.rows()
    meddle(shop, "P2", image_sha256=named)

    found = shop.verify()

    told = f"image_sha256 is not {before['P2']['image_sha256']}"
    assert ("field", "P2", told) in [(fault.kind, fault.name, fault.detail) for fault in found.differing]
    assert {fault.name for fault in found.differing} == {"P2"}
    assert found.compared == max(0, drawn - 1)
    assert shop.repair().differing == []
    assert shop.rows() == before


def test_a_row_with_another_digest_is_not_read(shop: SmallShop, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = shop.settings.catalog
    catalog.write_text(catalog.read_text(encoding="utf-8").replace("Mug 2", "Cup " * 200), encoding="utf-8")
    matching, read = Collection.find, []

    def noted(self: Collection, product_ids: Sequence[str], names: list[str]) -> list[dict[str, Any]]:
        read.extend(product_ids if "title" in names else [])
        return matching(self, product_ids, names)

    monkeypatch.setattr(Collection, "find", noted)

    found = shop.verify()

    assert read == ["P0", "P1", "P3", "P4"]
    assert [(fault.kind, fault.name) for fault in found.differing] == [("row", "P2")]
    assert found.compared == 4


def test_of_a_large_collection_a_sample_is_drawn_by_a_seed_that_is_told(
    shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_checks, "ALL_UP_TO", 4)
    monkeypatch.setattr(field_checks, "DRAWN", 2)

    verdict, again = shop.verify(), shop.verify()

    assert verdict.compared == 2
    assert verdict.seed != again.seed
    assert verdict.proven == (
        f"5 of 5 rows: ids, digests; fields of 2 rows; 5 vectors bit for bit; drawn with --seed {verdict.seed}"
    )


def test_rows_are_read_in_pages_of_a_bounded_size(shop: SmallShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_checks, "PAGE_BYTES", 1000)  # two of these rows
    assert shop.verify().compared == 5
    meddle(shop, "P4", stock=5)
    assert [fault.name for fault in shop.verify().differing] == ["P4"]


def test_an_image_of_the_same_size_and_time_is_hashed_only_where_asked_and_then_healed(shop: SmallShop) -> None:
    path = shop.folder / "images" / "3.png"
    before = path.stat()
    path.write_bytes((shop.folder / "images" / "2.png").read_bytes()[: before.st_size].ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert shop.verify().differing == []
    found = shop.verify(pictures=True)

    assert [(fault.kind, fault.name) for fault in found.differing] == [("image", "P3")]
    assert found.proven.endswith("; bytes of 4 images")
    healed = shop.repair(pictures=True)
    assert healed.differing == []
    assert healed.proven.endswith("; bytes of 5 images")
    assert shop.rows()["P3"]["embedding"] != pytest.approx([0.0] * 8)


def test_the_command_prints_the_facts_and_gives_them_as_json(shop: SmallShop) -> None:
    settings = shop.settings
    arguments = ["--catalog", settings.catalog, "--data", settings.data, "--model", "model-1", "--no-exports"]
    arguments += ["--schema", settings.schema, "--pictures", "--sample", "2", "--seed", "7", "--quiet"]
    with shop.faked():
        told = CliRunner().invoke(cli, ["verify", *map(str, arguments)])
        facts = json.loads(CliRunner().invoke(cli, ["verify", *map(str, arguments), "--json"]).stdout)

    proven = "5 of 5 rows: ids, digests, fields; 2 vectors bit for bit; bytes of 5 images; drawn with --seed 7"
    assert proven in told.output
    assert facts["proven"] == proven
    wanted = {"rows": 5, "expected": 5, "compared": 5, "sampled": 2, "pictures": 5, "seed": 7, "reasons": {}}
    assert {name: facts[name] for name in wanted} == wanted
