"""Products that look the same keep no collection from being served; a wrong vector among them is still found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from support.crowd import SPREADS, crowded, members
from support.small_shop import SmallShop

from ingest.core import contract_file
from ingest.milvus import checks, index_parameters
from ingest.runtime.openmp import import_faiss

if TYPE_CHECKING:
    from pathlib import Path

CONTRACT = contract_file.load(contract_file.default_path())


@pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS)
@pytest.mark.parametrize("size", [2, 11, 50, 500, 5000])
def test_a_crowd_of_any_size_is_right(tmp_path: Path, size: int, spread: float) -> None:
    with crowded(str(tmp_path / "milvus.db"), CONTRACT, tmp_path, size, spread) as (collection, store):
        assert list(checks.vectors(collection, store, members(size))) == []


@pytest.mark.parametrize("size", [2, 500])
def test_a_wrong_vector_in_a_crowd_is_found(tmp_path: Path, size: int) -> None:
    with crowded(str(tmp_path / "milvus.db"), CONTRACT, tmp_path, size, 0.0) as (collection, store):
        client = collection.connection.client
        row = client.query(collection.name, filter='product_id == "P00001"', output_fields=["*"])[0]
        wrong = np.roll(np.asarray(row["embedding"], np.float32), 1)
        client.upsert(collection.name, [row | {"embedding": wrong}])

        found = list(checks.vectors(collection, store, members(size)))

    assert [(fault.kind, fault.name) for fault in found] == [("vector", "P00001")]


def test_a_product_that_the_index_has_lost_is_found(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path)
    shop.stock({f"P{number}": (number, f"Product {number}") for number in range(40)})
    shop.run()
    with shop.client() as client:  # as an older ingest did
        (name,) = client.list_collections()
        client.release_collection(name)
        client.create_index(name, index_parameters.index_params(CONTRACT))
        client.load_collection(name)
    (path,) = (tmp_path / "data").glob("milvus.db/collections/*/partitions/*/indexes/*.hnsw.idx")
    faiss = import_faiss()
    vectors = faiss.read_index(str(path)).reconstruct_n(0, 40)
    vectors[7] = vectors[8]
    other = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    other.add(vectors)
    faiss.write_index(other, str(path))

    (found,) = shop.verify().differing

    assert found.kind == "search"
    assert "not found by its own vector" in found.detail
    assert shop.repair().differing == []


def test_files_that_differ_and_show_the_same_are_served(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path)
    shop.stock({f"P{number}": (number, f"Product {number}") for number in range(14)})
    for number in range(1, 13):
        said = PngImagePlugin.PngInfo()
        said.add_text("Comment", f"exported as {number}")
        Image.new("RGB", (8, 8), "white").save(tmp_path / "images" / f"{number}.png", pnginfo=said)

    assert shop.run(exports=True).summary.upserted == 14

    verdict = shop.verify(exports=True)
    assert (verdict.differing, verdict.rows, verdict.overlap) == ([], 14, 1.0)
    assert shop.releases()[0].serves
