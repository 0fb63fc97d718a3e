"""The ef that was measured on a collection stands in its contract beside the schema's, and outlives later runs."""

from __future__ import annotations

import json
from dataclasses import replace

from ingest.core import contract_file, search_ef
from ingest.core.carried_properties import measured_ef, read_contract
from ingest.core.contract import Space, collection_name, to_json

CONTRACT = contract_file.load(contract_file.default_path())
SPACE = Space("model", "1", 4, {})


def test_without_a_measured_one_apps_read_the_schemas() -> None:
    said = json.loads(to_json(CONTRACT, SPACE))

    assert (said["ef"], said["ef_schema"], said["ef_measured"]) == (64, 64, None)
    assert search_ef.describe(said) == "ef 64 (the schema's; none was measured)"


def test_a_measured_one_is_what_apps_read_and_is_kept_when_the_schema_changes() -> None:
    said = to_json(CONTRACT, SPACE)
    tuned = json.dumps(search_ef.add_measured(json.loads(said), 33))
    changed = replace(CONTRACT, index=replace(CONTRACT.index, ef=128))

    later = to_json(changed, SPACE, measured_ef(tuned))

    assert read_contract(later) | {"ef": 33, "ef_schema": 128, "ef_measured": 33} == read_contract(later)
    assert search_ef.describe(read_contract(later)) == "ef 33 (measured; the schema's is 128)"
    assert to_json(CONTRACT, SPACE, measured_ef(tuned)) == tuned, "a run has nothing to write"
    assert collection_name(changed, SPACE) == collection_name(CONTRACT, SPACE)


def test_a_contract_of_an_older_ingest_has_the_schemas_alone() -> None:
    old = json.loads(to_json(CONTRACT, SPACE)) | {"ef": 48}
    del old["ef_schema"], old["ef_measured"]

    assert read_contract(json.dumps(old)) == old | {"ef_schema": 48, "ef_measured": None}
    assert search_ef.add_measured(old, 33) == old | {"ef": 33, "ef_schema": 48, "ef_measured": 33}
