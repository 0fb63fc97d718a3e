"""The snapshot of a collection: counts, facets and the map."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.small_shop import SmallShop

from ingest.search.milvus_backend import SearchableCollection
from ingest.server import snapshot

if TYPE_CHECKING:
    from ingest.server.schemas import Facet


def pairs(facet: Facet) -> list[tuple[object, int]]:
    return [(found.value, found.rows) for found in facet.values]


def test_a_collection_is_counted_and_shared_images_are_grouped(tmp_path) -> None:
    shop = SmallShop(tmp_path)
    shop.stock({'a"b': (1, "one"), "b": (1, "two"), "c": (2, "two"), "d": (3, "two"), "e": (1, "")})
    shop.run()
    with shop.connection() as connection:
        served = SearchableCollection(connection, "products")
        taken = snapshot.take(connection, served.name, served.contract)

    assert (taken.rows, taken.images, taken.sharing) == (5, 3, 3)
    assert [(group.products, sorted(group.product_ids)) for group in taken.shared] == [(3, ['a"b', "b", "e"])]
    assert sorted(taken.plane.product_ids) == ['a"b', "b", "c", "d", "e"]
    title = next(facet for facet in taken.facets if facet.name == "title")
    price = next(facet for facet in taken.facets if facet.name == "price")
    assert pairs(title) == [("two", 3), ("one", 1)]
    assert (price.low, price.high) == (None, None)  # no price is known


def test_a_facet_is_a_range_of_numbers_or_a_list_of_few_values() -> None:
    price = snapshot._facet("price", "DOUBLE", [3.0, math.nan, None, 1.5])
    assert (price.values, price.low, price.high) == ([], 1.5, 3.0)
    many = [str(number) for number in range(snapshot.MAX_VALUES + 1)] * 2
    assert snapshot._facet("title", "VARCHAR", many).values == []
    assert pairs(snapshot._facet("sold", "BOOL", [True, False, True])) == [(True, 2), (False, 1)]


def test_two_components_keep_the_distances_in_a_plane() -> None:
    random = np.random.default_rng(3)
    flat = (random.normal(size=(50, 2)) @ random.normal(size=(2, 16))).astype(np.float32)
    places, explained = snapshot.project(flat)

    assert explained == pytest.approx(1.0, abs=1e-5)
    far = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    near = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert np.allclose(near / near.max(), far / far.max(), atol=1e-4)


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(0, 12), st.integers(2, 9)), elements=st.floats(-1, 1, width=32)))
def test_every_map_stays_within_its_edges(vectors) -> None:
    places, explained = snapshot.project(vectors)

    assert places.shape == (len(vectors), 2)
    assert np.abs(places).max(initial=0) <= 1 + 1e-6
    assert 0 <= explained <= 1
