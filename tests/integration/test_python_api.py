"""`import ingest` with a Milvus server: runs and searches at the same time, and threads that share a connection."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.shop import contract_in
from support.small_shop import FIVE, SmallShop

import ingest

if TYPE_CHECKING:
    from pathlib import Path


def test_a_server_is_filled_and_searched_from_python(tmp_path: Path, milvus_uri: str, collection_name: str) -> None:
    shop = SmallShop(tmp_path)
    shop.stock(FIVE)
    schema = contract_in(tmp_path, collection_name)

    def run() -> ingest.RunSummary:
        with shop.faked():
            return ingest.run(
                shop.settings.catalog, data=shop.settings.data, uri=milvus_uri, schema=schema, model="model-1",
                exports=False, max_wait=30,
            )  # fmt: skip

    summary = run()
    assert (summary.added, summary.served) == (5, summary.collection)
    with ingest.connect(milvus_uri, schema=schema, catalog=shop.settings.catalog) as products:
        assert len(products) == 5
        shop.stock({**FIVE, "P9": (9, "Product 9")})
        assert run().added == 1, "a server serves many at once"
        ends = time.monotonic() + 30  # a search may be some seconds behind what was written
        while products.similar("P0", filter='title == "Product 9"').ids != ["P9"]:
            assert time.monotonic() < ends
            time.sleep(0.2)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda number: products.search(product=f"P{number % 5}", limit=3).ids, range(20)))
        assert found == [*found[:5]] * 4
        with pytest.raises(ingest.QueryError, match="the filter 'price <'"):
            products.similar("P0", filter="price <")


def test_a_server_that_is_not_there_is_one_line_in_the_words_of_python() -> None:
    with pytest.raises(ingest.MilvusError) as raised:
        ingest.connect("http://me:s3cr3t@127.0.0.1:9", max_wait=0)
    assert str(raised.value).startswith("Milvus at http://127.0.0.1:9: cannot connect")
    assert "s3cr3t" not in str(raised.value)
