"""A row's fields equal what was written for a product, type by type; any other value differs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core.contract import DYNAMIC, Contract, HnswIndex
from ingest.core.field import Field
from ingest.milvus import field_checks

TYPES = {"name": "VARCHAR", "stock": "INT64", "weight": "FLOAT", "price": "DOUBLE", "new": "BOOL"}
CONTRACT = Contract(
    1, "products", True, 128, HnswIndex("embedding", "IP", "HNSW", 16, 200, 64),  # noqa: FBT003
    tuple(Field(name, kind, name, 64 if kind == "VARCHAR" else 0, None) for name, kind in TYPES.items()),
)  # fmt: skip
PRODUCT = {"name": "mug", "stock": 5, "weight": 0.1, "price": 9.99, "new": True, "season": "summer"}

products = st.fixed_dictionaries(
    {
        "name": st.text(), "stock": st.integers(-(2**63), 2**63 - 1), "weight": st.floats(width=32),
        "price": st.floats(), "new": st.booleans(),
    },
    optional={"season": st.text(), "sizes": st.lists(st.integers()) | st.none()},
)  # fmt: skip


def row(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return these values as Milvus returns them: FLOAT with 32 bits, others unchanged, with ingest's own fields."""
    back = json.loads(json.dumps(metadata)) | {"weight": float(np.float32(metadata["weight"]))}
    return back | {"product_id": "P1", "row_digest": "0" * 32, "image_sha256": "0" * 64, DYNAMIC: {}}


@given(products)
def test_what_was_written_is_the_same(product: dict[str, Any]) -> None:
    assert field_checks.differences(row(product), product, CONTRACT) == []


@given(products, products)
def test_each_value_that_differs_is_named(product: dict[str, Any], other: dict[str, Any]) -> None:
    named = [fault.partition(" is ")[0] for fault in field_checks.differences(row(product), other, CONTRACT)]

    assert named == [
        name for name in [*TYPES, *sorted((product.keys() | other.keys()) - TYPES.keys())]
        if not is_equal(product.get(name, ...), other.get(name, ...))
    ]  # fmt: skip


def is_equal(value: Any, other: Any) -> bool:
    both_unknown = isinstance(value, float) and isinstance(other, float) and math.isnan(value) and math.isnan(other)
    return both_unknown or bool(value == other)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight", 0.2, "weight is 0.2, not 0.1"),
        ("price", math.nan, "price is unknown, not 9.99"),
        ("price", "9.99", 'price is "9.99", not 9.99'),
        ("stock", 5.0, "stock is 5.0, not 5"),
        ("stock", True, "stock is true, not 5"),
        ("new", 1, "new is 1, not true"),
        ("name", "\x1b[2J" + "x" * 99, r'name is "\u001b[2J' + "x" * 29 + '…, not "mug"'),
        ("season", None, 'season is null, not "summer"'),
        ("origin", {"b": 1, "a": 2}, 'origin is {"b": 1, "a": 2}, not missing'),
    ],
)
def test_a_difference_is_described_without_control_characters(name: str, value: Any, message: str) -> None:
    assert field_checks.differences(row(PRODUCT) | {name: value}, PRODUCT, CONTRACT) == [message]


@pytest.mark.parametrize(("there", "instead"), [(None, None), (math.nan, None), (-1.0, -1.0)])
def test_a_missing_number_is_the_same_however_the_collection_keeps_it(
    there: float | None, instead: float | None
) -> None:
    contract = replace(CONTRACT, missing={"price": instead})
    unknown = PRODUCT | {"price": math.nan}
    assert field_checks.differences(row(PRODUCT) | {"price": there}, unknown, contract) == []
    assert field_checks.differences(row(PRODUCT) | {"price": there}, PRODUCT, contract) == [
        "price is unknown, not 9.99"
    ]
    assert field_checks.differences(row(PRODUCT), unknown, contract) == ["price is 9.99, not unknown"]


def test_null_where_the_collection_keeps_nan_differs() -> None:
    unknown = PRODUCT | {"price": math.nan}
    assert field_checks.differences(row(PRODUCT) | {"price": None}, unknown, CONTRACT) == ["price is null, not unknown"]


def test_small_collections_are_compared_whole_and_of_large_ones_a_sample_that_the_seed_decides() -> None:
    assert field_checks.draw(field_checks.ALL_UP_TO, 1).all()

    drawn = field_checks.draw(field_checks.ALL_UP_TO + 1, 1)

    assert drawn.sum() == field_checks.DRAWN
    assert (drawn == field_checks.draw(field_checks.ALL_UP_TO + 1, 1)).all()
    assert (drawn != field_checks.draw(field_checks.ALL_UP_TO + 1, 2)).any()
