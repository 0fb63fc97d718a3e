"""The files in tests/catalogs, as shop software exports them: each is read as expected.json says, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingest.catalog import reader
from ingest.catalog.options import ReadOptions
from ingest.catalog.recorder import CatalogRecorder
from ingest.catalog.rows import Columns
from ingest.core import contract_file
from ingest.core.errors import CatalogError
from ingest.core.records import Product

FOLDER = Path(__file__).parents[2] / "catalogs"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
SHIPPED = contract_file.load(contract_file.default_path())


def test_every_file_has_its_expectation():
    assert {path.name for path in FOLDER.iterdir()} - {"README.md", "expected.json"} == set(EXPECTED)
    assert len(EXPECTED) >= 40


@pytest.mark.parametrize("name", EXPECTED)
def test_a_catalog_is_read_as_expected(name):
    expected, recorder = EXPECTED[name], CatalogRecorder()
    columns = Columns(options=ReadOptions(**expected.get("options", {})))
    items = reader.read_catalog(FOLDER / name, SHIPPED, columns, recorder=recorder)
    if "refused" in expected:
        with pytest.raises(CatalogError, match=expected["refused"]) as caught:
            list(items)
        assert len(str(caught.value).splitlines()) == 1
        assert recorder.profile is None  # so that nothing is deleted
        return
    found = list(items)
    products = [item for item in found if isinstance(item, Product)]
    told = [[one.product_id, one.image, one.metadata["title"], _number(one.metadata["price"])] for one in products]
    assert told == expected["products"]
    assert len(found) - len(products) == expected.get("skipped", 0)
    assert recorder.profile is not None


def _number(price: float) -> float | None:
    return None if price != price else price  # noqa: PLR0124  NaN
