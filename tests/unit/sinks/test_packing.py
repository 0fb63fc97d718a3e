"""Rows packed by columns are the message that pymilvus itself would make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymilvus import Prepare

from ingest import contract as contracts
from ingest.contract import Field
from ingest.records import Embedded, Product
from ingest.sinks.milvus import packing, schema

DIM = 5
SHIPPED = contracts.load(contracts.default_path())
KINDS = ("VARCHAR", "INT64", "FLOAT", "DOUBLE", "BOOL")
CONTRACT = replace(SHIPPED, fields=tuple(Field(kind.lower(), kind, kind.lower(), 512, None) for kind in KINDS))
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

    made = packing.request("products", records, ["d" * 32] * len(rows), contract)

    fields = schema.schema(contract, DIM).to_dict()["fields"]
    theirs = Prepare.row_upsert_param("products", plain, "", fields, [], enable_dynamic=keeps_others)
    assert {field.field_name: field for field in made.fields_data} == {
        field.field_name: field for field in theirs.fields_data
    }
    assert (made.num_rows, made.collection_name) == (theirs.num_rows, theirs.collection_name)


@pytest.mark.parametrize("rows", [1, 63, 64, 8192])
def test_vectors_of_any_number_arrive_bit_for_bit(rows):
    vectors = np.random.default_rng(rows).normal(size=(rows, DIM)).astype(np.float32)
    records = [Embedded(Product(str(n), "", {}, n), bytes(32), vector) for n, vector in enumerate(vectors)]

    made = packing.request("products", records, [""] * rows, replace(SHIPPED, fields=()))

    floats = next(field.vectors for field in made.fields_data if field.field_name == "embedding")
    assert np.array(floats.float_vector.data, np.float32).tobytes() == vectors.tobytes()
    assert floats.dim == DIM
