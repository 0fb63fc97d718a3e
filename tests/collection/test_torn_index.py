"""An index file of Milvus Lite that a kill cut short, put there as the kill leaves it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from ingest.core import contract_file
from ingest.core.errors import MilvusError
from ingest.milvus import index_parameters
from ingest.search.milvus_backend import SearchableCollection

if TYPE_CHECKING:
    from pathlib import Path

    from support.small_shop import SmallShop


def index_file(shop: SmallShop) -> Path:
    """Index the collection as an ingest did that built an index in Milvus Lite too; return the index's file."""
    with shop.client() as client:
        name = client.describe_collection("products")["collection_name"]
        client.create_index(name, index_parameters.index_params(contract_file.load(shop.settings.schema)))
        client.load_collection(name)
    (path,) = (shop.folder / "data" / "milvus.db").glob("**/*.idx")
    return path


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
def test_the_next_run_does_without_it(shop: SmallShop, share: float) -> None:
    before, path = shop.rows(), index_file(shop)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])

    assert shop.run().summary.upserted == 0
    assert not path.exists()
    assert shop.rows() == before
    assert not shop.verify().differing


def test_who_searches_first_builds_it_again_and_says_so(shop: SmallShop, caplog: pytest.LogCaptureFixture) -> None:
    path = index_file(shop)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with caplog.at_level(logging.WARNING, "ingest"), shop.connection() as connection:
        assert SearchableCollection(connection, "products").count() == 5
    assert [record.message for record in caplog.records if record.name.startswith("ingest")] == [
        f"{shop.settings.milvus_uri}: a kill has cut the index of {shop.releases()[0].name} short; it is built again"
    ]
    assert path.read_bytes() == whole
    assert not shop.verify().differing


def test_rows_that_cannot_be_read_are_another_matter(shop: SmallShop) -> None:
    name = shop.releases()[0].name
    for path in (shop.folder / "data" / "milvus.db").glob("**/*.parquet"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MilvusError, match=name):
        shop.run()
