"""Rows packed by columns are the same message as pymilvus packs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymilvus import Prepare

from ingest.core import contract_file, missing_numbers
from ingest.core.field import Field
from ingest.core.missing_numbers import Keeps
from ingest.core.records import Embedded, Product
from ingest.milvus import protobuf, schema

DIM = 5
SHIPPED = contract_file.load(contract_file.default_path())
KINDS = ("VARCHAR", "INT64", "FLOAT", "DOUBLE", "BOOL")
CONTRACT = replace(SHIPPED, fields=tuple(Field(kind.lower(), kind, kind.lower(), 512, None) for kind in KINDS))
PRICE = Field("price", "DOUBLE", "price", 0, math.nan)
FLOATS = st.floats(width=32, allow_nan=False)
TEXT = st.text(st.characters(codec="utf-8"), max_size=9)
TYPED = st.fixed_dictionaries(
    {
        "varchar": TEXT,
        "int64": st.integers(-(2**63), 2**63 - 1),
        "float": FLOATS,
        "double": FLOATS,
        "bool": st.booleans(),
    }
)
OTHERS = st.dictionaries(TEXT.map("other {}".format), TEXT | st.booleans() | st.integers(-9, 9), max_size=2)
ROWS = st.lists(st.tuples(TEXT, TYPED, OTHERS, st.lists(FLOATS, min_size=DIM, max_size=DIM)), min_size=1, max_size=4)


@given(ROWS, st.booleans())
@settings(max_examples=200, deadline=None)
def test_it_is_what_pymilvus_packs(rows, keeps_others):
    contract = replace(CONTRACT, keeps_others=keeps_others)
    records, plain = [], []
    for product_id, typed, others, vector in rows:
        metadata = typed | (others if keeps_others else {})
        floats = np.array(vector, np.float32)
        records.append(Embedded(Product(product_id, "", metadata, 1), b"k" * 32, floats))
        own = {"product_id": product_id, "row_digest": "d" * 32, "image_sha256": (b"k" * 32).hex(), "embedding": floats}
        plain.append(metadata | own)

    made = protobuf.request("products", records, ["d" * 32] * len(rows), contract)

    fields = schema.schema(contract, DIM).to_dict()["fields"]
    theirs = Prepare.row_upsert_param("products", plain, "", fields, [], enable_dynamic=keeps_others)
    assert {field.field_name: field for field in made.fields_data} == {
        field.field_name: field for field in theirs.fields_data
    }
    assert (made.num_rows, made.collection_name) == (theirs.num_rows, theirs.collection_name)


@given(st.lists(st.floats(allow_infinity=False), min_size=1, max_size=4))
def test_null_is_packed_as_pymilvus_packs_it(prices):
    contract = missing_numbers.on_server(replace(SHIPPED, fields=(PRICE,), keeps_others=False), Keeps.NULL)
    own = {"row_digest": "d" * 32, "image_sha256": (b"k" * 32).hex(), "embedding": np.zeros(DIM, np.float32)}
    products = [Product(str(at), "", {"price": price}, 1) for at, price in enumerate(prices)]
    records = [Embedded(product, b"k" * 32, own["embedding"]) for product in products]
    plain = [
        {"product_id": product.product_id, "price": None if math.isnan(price) else price} | own
        for product, price in zip(products, prices, strict=True)
    ]

    made = protobuf.request("products", records, ["d" * 32] * len(prices), contract)

    fields = schema.schema(contract, DIM).to_dict()["fields"]
    theirs = Prepare.row_upsert_param("products", plain, "", fields, [])
    assert {field.field_name: field for field in made.fields_data} == {
        field.field_name: field for field in theirs.fields_data
    }
    price = next(field for field in made.fields_data if field.field_name == "price")
    assert len(price.valid_data) == len(prices)
    assert price.scalars.WhichOneof("data") == "double_data"


def test_a_number_that_stands_for_a_missing_one_is_packed_as_a_number():
    contract = replace(SHIPPED, fields=(PRICE,), missing={"price": -1.0})
    records = [Embedded(Product("a", "", {"price": value}, 1), bytes(32), np.zeros(DIM)) for value in (math.nan, 2.0)]

    made = protobuf.request("products", records, ["", ""], contract)

    price = next(field for field in made.fields_data if field.field_name == "price")
    assert (list(price.scalars.double_data.data), list(price.valid_data)) == ([-1.0, 2.0], [])


@pytest.mark.parametrize("rows", [1, 63, 64, 8192])
def test_vectors_of_any_number_arrive_bit_for_bit(rows):
    vectors = np.random.default_rng(rows).normal(size=(rows, DIM)).astype(np.float32)
    records = [Embedded(Product(str(n), "", {}, n), bytes(32), vector) for n, vector in enumerate(vectors)]

    made = protobuf.request("products", records, [""] * rows, replace(SHIPPED, fields=()))

    floats = next(field.vectors for field in made.fields_data if field.field_name == "embedding")
    assert np.array(floats.float_vector.data, np.float32).tobytes() == vectors.tobytes()
    assert floats.dim == DIM
