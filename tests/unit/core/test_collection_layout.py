"""The `[collection]` table: what it may say, and the line that an error names."""

from __future__ import annotations

import tomllib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core.collection_layout import NONE, Layout, read

TYPES = {"brand": "VARCHAR", "shop": "INT64", "price": "DOUBLE"}


def loaded(text: str) -> Layout:
    return read(tomllib.loads(text).get("collection", {}), TYPES, text)


def test_a_table_says_what_it_says_and_leaves_the_rest_to_the_server():
    assert loaded("") == NONE
    assert loaded("[collection]\nshards = 4") == Layout(4, 0, "")
    assert loaded('[collection]\nreplicas = 2\npartition_key = "shop"') == Layout(0, 2, "shop")


def test_only_what_cannot_be_changed_later_is_lasting():
    assert Layout(4, 2, "brand").lasting == {"shards": 4, "partition_key": "brand"}
    assert Layout(0, 3, "").lasting == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[collection]\n\nshards = 0", "line 3: collection.shards is 0; it must be a whole number from 1 to 64"),
        ("[collection]\nshards = true", "line 2: collection.shards is True"),
        ("a = 1\ncollection.replicas = 'two'", "line 2: collection.replicas is 'two'"),
        ("collection = { shards = 65 }", "line 1: collection.shards is 65"),
        ("[collection]\npartition_key = 'colour'", "line 2: collection.partition_key is 'colour'; it must be one of"),
        ("[collection]\npartition_key = 'price'", "line 2: collection.partition_key is price, a DOUBLE"),
        ("[x]\nshard = 1\n[collection]\nshard = 1", "line 4: collection.shard is not a key of the contract"),
        ("collection = 3", "collection must be a table"),
    ],
)
def test_a_mistake_is_named_with_its_line(text, told):
    with pytest.raises(ValueError, match="collection") as caught:
        loaded(text)
    assert str(caught.value).startswith(told)


@given(st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text(max_size=8) | st.lists(st.integers())))
def test_whatever_stands_there_is_a_layout_or_a_mistake(table):
    with suppress(ValueError):
        assert read(table, TYPES, "").partition_key in {"", "brand", "shop"}
