"""Missing numbers on their way into a collection and back, for each way in which a server keeps them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core import contract as contracts
from ingest.core import contract_file, missing_numbers
from ingest.core.contract import Space
from ingest.core.field import Field
from ingest.core.missing_numbers import Keeps

SPACE = Space("openai/clip-vit-base-patch32", "3d74acf9", 512, {"size": 224, "mean": [0.48, 0.46, 0.41]})
SHIPPED = contract_file.load(contract_file.default_path())
DECLARED = replace(
    SHIPPED, fields=tuple(replace(field, missing=-1.0) if field.may_be_missing else field for field in SHIPPED.fields)
)
WAYS = {Keeps.NAN: {}, Keeps.NULL: {"price": None}, Keeps.NEITHER: {"price": -1.0}}


@pytest.mark.parametrize("keeps", Keeps)
def test_a_server_decides_how_a_contract_keeps_them(keeps: Keeps) -> None:
    assert missing_numbers.on_server(DECLARED, keeps).missing == WAYS[keeps]
    bare = missing_numbers.on_server(SHIPPED, keeps).missing
    assert bare == (WAYS[keeps] if keeps is Keeps.NULL else {})


@given(st.lists(st.floats(allow_infinity=False).filter(lambda number: number != -1.0)), st.sampled_from(Keeps))
def test_what_was_stored_is_known_again(values: list[float], keeps: Keeps) -> None:
    contract = missing_numbers.on_server(DECLARED, keeps)
    kept = missing_numbers.to_stored(values, "price", contract)
    known = [missing_numbers.from_stored(value, "price", contract.missing) for value in kept]
    assert known == [None if math.isnan(value) else value for value in values]
    assert keeps is Keeps.NAN or not any(map(missing_numbers.is_nan, kept))


def test_another_fields_values_stay() -> None:
    contract = missing_numbers.on_server(DECLARED, Keeps.NEITHER)
    values = [math.nan]
    assert missing_numbers.to_stored(values, "weight", contract) is values
    assert missing_numbers.from_stored(-1.0, "weight", contract.missing) == -1.0


def test_collections_that_are_there_keep_their_name_and_what_they_say_to_apps() -> None:
    for contract in (SHIPPED, DECLARED, missing_numbers.on_server(DECLARED, Keeps.NAN)):
        assert contracts.collection_name(contract, SPACE) == "products_8afcad7f373c"
        said = contracts.to_json(contract, SPACE)
        assert (
            hashlib.sha256(said.encode()).hexdigest()
            == "9d6cb16602250f076e63944a9c5579b0e0e468e58ec24d54a8a545fb16188f6d"
        )


def test_a_collection_that_keeps_them_otherwise_has_another_name_and_says_so_to_apps() -> None:
    kept = [missing_numbers.on_server(DECLARED, keeps) for keeps in Keeps]
    assert len({contracts.collection_name(contract, SPACE) for contract in kept}) == len(Keeps)
    other = replace(DECLARED, fields=tuple(replace(field, missing=field.missing and -2.0) for field in DECLARED.fields))
    named = [
        contracts.collection_name(missing_numbers.on_server(one, Keeps.NEITHER), SPACE) for one in (DECLARED, other)
    ]
    assert named[0] != named[1]
    for contract in kept[1:]:
        said = json.loads(contracts.to_json(contract, SPACE), parse_constant=pytest.fail)
        assert said["missing"] == contract.missing


def test_only_numbers_whose_default_is_nan_may_be_missing() -> None:
    assert missing_numbers.is_possible(SHIPPED)
    known = (Field("price", "DOUBLE", "price", 0, 0.0), Field("title", "VARCHAR", "title", 8, "nan"))
    assert not missing_numbers.is_possible(replace(SHIPPED, fields=known))
