"""The ef that was measured on a collection stands in its contract beside the schema's, and outlives later runs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core import contract as contracts
from ingest.core import search_ef
from ingest.core.contract import Space, collection_name, to_json

CONTRACT = contracts.load(contracts.default_path())
SPACE = Space("model", "1", 4, {})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["ef", "ef_measured", "x"]), inner),
)


def test_without_a_measured_one_apps_read_the_schemas() -> None:
    said = json.loads(to_json(CONTRACT, SPACE))

    assert (said["ef"], said["ef_schema"], said["ef_measured"]) == (64, 64, None)
    assert search_ef.describe(said) == "ef 64 (the schema's; none was measured)"


def test_a_measured_one_is_what_apps_read_and_is_kept_when_the_schema_changes() -> None:
    said = to_json(CONTRACT, SPACE)
    tuned = json.dumps(search_ef.add_measured(json.loads(said), 33))
    changed = replace(CONTRACT, index=replace(CONTRACT.index, ef=128))

    later = to_json(changed, SPACE, search_ef.measured_ef(tuned))

    assert search_ef.read(later) | {"ef": 33, "ef_schema": 128, "ef_measured": 33} == search_ef.read(later)
    assert search_ef.describe(search_ef.read(later)) == "ef 33 (measured; the schema's is 128)"
    assert to_json(CONTRACT, SPACE, search_ef.measured_ef(tuned)) == tuned, "a run has nothing to write"
    assert collection_name(changed, SPACE) == collection_name(CONTRACT, SPACE)


def test_a_contract_of_an_older_ingest_has_the_schemas_alone() -> None:
    old = {"alias": "products", "ef": 48}

    assert search_ef.read(json.dumps(old)) == old | {"ef_schema": 48, "ef_measured": None}
    assert search_ef.add_measured(old, 33) == old | {"ef": 33, "ef_schema": 48, "ef_measured": 33}


@pytest.mark.parametrize("carried", ["", "no JSON", "[]", "3", "{}", '{"ef_measured": 33'])
def test_what_is_no_contract_is_none(carried: str) -> None:
    assert search_ef.read(carried) == {}
    assert search_ef.measured_ef(carried) is None


@given(JSON)
def test_whatever_stands_there_is_an_ef_that_milvus_takes_or_none(ef: Any) -> None:
    found = search_ef.measured_ef(json.dumps({"ef": 64, "ef_measured": ef}))

    assert found is None or (found == ef and 1 <= found <= 32_768 and not isinstance(found, bool))
