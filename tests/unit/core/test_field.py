"""The fields of a contract: the number that stands for a missing one, and names that some version of Milvus refuses."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.core.field import FaultError, Field, field_name, read_field

PRICE = {"name": "price", "type": "DOUBLE", "default": float("nan")}


def test_a_number_for_missing_ones_is_read_as_a_float() -> None:
    assert read_field(PRICE | {"missing": -1}, 1).missing == -1.0
    assert read_field(PRICE | {"type": "FLOAT", "missing": 0.5}, 1).missing == 0.5
    assert read_field(PRICE, 1).missing is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"missing": float("nan")}, r"fields\[2\].missing of price is nan; it must be a number that a DOUBLE stores"),
        ({"missing": float("inf")}, "which is not DOUBLE"),
        ({"missing": "none"}, "which is not DOUBLE"),
        ({"missing": True}, "which is not DOUBLE"),
        ({"missing": -1.1, "type": "FLOAT"}, "is -1.1; it must be a number that a FLOAT stores exactly, such as -1.0"),
        ({"missing": -1, "default": 0.0}, "only a FLOAT or DOUBLE with default = nan may have it; remove it"),
        ({"missing": -1, "type": "INT64", "default": 0}, "only a FLOAT or DOUBLE with default = nan"),
    ],
)
def test_a_number_for_missing_ones_that_cannot_be_is_named(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(FaultError, match=said):
        read_field(PRICE | entry, 2)


@pytest.mark.parametrize(
    "name",
    [
        "like", "Like", "and", "OR", "not", "in", "In", "null", "NULL", "exists", "EXISTS", "true", "True", "false",
        "json_contains", "JSON_CONTAINS_ALL", "array_contains_any", "array_length", "text_match", "phrase_match",
        "random_sample", "RowID", "Timestamp", "__virtual_pk__",
    ],
)  # fmt: skip
def test_names_that_a_version_of_milvus_refuses_are_refused(name: str) -> None:
    with pytest.raises(FaultError, match=rf"fields\[1\].name is '{name}', a .* name; the catalog's column may keep"):
        read_field({"name": name, "type": "BOOL"}, 1)


@pytest.mark.parametrize("name", ["Exists", "tRue", "rowid", "timestamp", "likes", "is_null", "match", "iso"])
def test_names_that_only_look_like_those_are_taken(name: str) -> None:
    assert field_name(name, "fields[1].name") == name


def test_the_catalogs_column_may_have_such_a_name() -> None:
    entry = {"name": "is_in", "column": "in", "type": "BOOL"}
    assert read_field(entry, 1) == Field("is_in", "BOOL", "in", 0, None)
