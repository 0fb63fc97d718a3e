"""Properties that anybody may have written: any text gives a value of the right shape, or none, and never an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core import contract_file, search_ef
from ingest.core.carried_properties import measured_ef, read_contract, read_json, read_time
from ingest.core.contract import Space, to_json

CONTRACT = json.loads(to_json(contract_file.load(contract_file.default_path()), Space("model", "1", 4, {"size": 224})))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([10**400, -1, 0, 2**63]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*CONTRACT, "M", "x"]) | st.text(), inner),
    max_leaves=8,
)
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "carried", ["", "no JSON", "[]", "null", '"x"', "3", "1e999", "true", "{}", '{"ef_measured": 33', DEEP, "9" * 5000]
)
def test_what_is_no_contract_is_none(carried: str) -> None:
    assert read_contract(carried) == {}
    assert measured_ef(carried) is None


@pytest.mark.parametrize(
    "key", ["alias", "model", "revision", "fingerprint", "vector_field", "dim", "ef", "fields", "index"]
)
@pytest.mark.parametrize("value", [None, [], {}, "", 0, -1, True, 1.5, 10**400, {"M": "16"}, {"title": 3}, [[]]])
def test_a_contract_with_a_key_that_is_missing_or_of_another_kind_is_none(key: str, value: Any) -> None:
    if key == "fields" and value in ({}, {"M": "16"}):
        return  # a contract without fields, and one of text
    assert read_contract(json.dumps(CONTRACT | {key: value})) == {}
    assert read_contract(json.dumps({name: CONTRACT[name] for name in CONTRACT if name != key})) == {}


def test_what_ingest_writes_is_read_whole_and_keys_of_later_versions_are_kept() -> None:
    assert read_contract(json.dumps(CONTRACT | {"later": [1]})) == CONTRACT | {"later": [1]}
    old = {key: CONTRACT[key] for key in CONTRACT if key not in ("ef_schema", "ef_measured")}
    assert read_contract(json.dumps(old)) == CONTRACT


@given(JSON | st.dictionaries(st.sampled_from(list(CONTRACT)), JSON).map(lambda changes: CONTRACT | changes))
def test_whatever_json_stands_there_is_a_contract_that_ingest_can_read_or_none(value: Any) -> None:
    text = json.dumps(value)
    found = read_contract(text)

    assert json.dumps(found, allow_nan=False)
    assert read_contract(json.dumps(found)) == found
    if found:
        assert found["alias"]
        assert 1 <= found["dim"] * found["index"]["M"] < 2**62
        assert 1 <= found["ef"] <= search_ef.LARGEST_EF
        assert search_ef.describe(found).startswith("ef ")
        assert isinstance(found["model"] + found["revision"] + found["fingerprint"], str)
        assert all(isinstance(kind, str) for kind in found["fields"].values())
        assert all(number is None or number * 1 == number for number in found.get("missing", {}).values())


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    read_json(text)
    read_contract(text)
    time = read_time(text)
    assert time == read_time(time)


@given(JSON)
def test_whatever_stands_there_is_an_ef_that_milvus_takes_or_none(ef: Any) -> None:
    found = measured_ef(json.dumps({"ef": 64, "ef_measured": ef}))

    assert found is None or (found == ef and 1 <= found <= 32_768 and not isinstance(found, bool))


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-26T10:00:00.123+00:00", "2026-11-26T10:00:00.123+00:00"),
        ("2026-11-26T12:00:00+02:00", "2026-11-26T10:00:00.000+00:00"),
        ("2026-11-26T10:00:00", ""),
        ("0001-01-01T00:00:00+14:00", ""),
        ("2026-11-26\x1b10:00:00+00:00", "2026-11-26T10:00:00.000+00:00"),
        ("yesterday", ""),
    ],
)
def test_a_time_is_utc_or_none(text: str, time: str) -> None:
    assert read_time(text) == time
