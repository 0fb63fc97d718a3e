"""The contract with apps: the names of collections, embedding spaces, and what apps are told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.contracts import GOOD, loaded

from ingest.core.contract import Space, collection_name, to_json

SPACE = Space("openai/clip-vit-base-patch32", "3d74acf9", 512, {"size": 224, "mean": [0.48, 0.46, 0.41]})


def test_names_of_ingest_and_of_milvus_are_taken(tmp_path):
    own = {"product_id", "row_digest", "image_sha256", "embedding", "$meta"}
    assert loaded(tmp_path).taken_names == own | {"title", "price"}


def test_a_fingerprint_covers_model_revision_dim_and_preprocessing():
    spaces = [
        SPACE,
        replace(SPACE, model="openai/clip-vit-large-patch14"),
        replace(SPACE, revision="other"),
        replace(SPACE, dim=768),
        replace(SPACE, preprocessing={"size": 336}),
    ]
    assert len({space.fingerprint for space in spaces}) == len(spaces)
    assert all(len(space.fingerprint) == 16 for space in spaces)


def test_a_fingerprint_does_not_hang_on_the_order_of_keys():
    backwards = dict(reversed(SPACE.preprocessing.items()))
    assert replace(SPACE, preprocessing=backwards).fingerprint == SPACE.fingerprint


def test_a_local_checkpoint_is_known_by_its_content_and_not_by_its_folder():
    here = Space("checkpoint", "sha256:abc", 512, {})
    assert replace(here, model="moved").fingerprint == here.fingerprint
    assert replace(here, revision="sha256:abd").fingerprint != here.fingerprint


def test_a_collection_is_named_after_its_schema_and_its_space(tmp_path):
    contract = loaded(tmp_path)
    name = collection_name(contract, SPACE)
    assert name.startswith("products_")
    assert len(name) == len("products_") + 12
    others = [
        collection_name(contract, replace(SPACE, dim=768)),
        collection_name(replace(contract, fields=contract.fields[:1]), SPACE),
        collection_name(replace(contract, index=replace(contract.index, m=32)), SPACE),
        collection_name(replace(contract, index=replace(contract.index, ef_construction=300)), SPACE),
        collection_name(replace(contract, keeps_others=False), SPACE),
    ]
    assert len({name, *others}) == 6


def test_ef_is_for_searching_and_builds_no_new_collection(tmp_path):
    contract = loaded(tmp_path)
    faster = replace(contract, index=replace(contract.index, ef=16))
    assert collection_name(faster, SPACE) == collection_name(contract, SPACE)


def test_the_longest_alias_makes_a_name_that_milvus_takes(tmp_path):
    contract = loaded(tmp_path, GOOD.replace('"products"', f'"{"a" * 242}"', 1))
    assert len(collection_name(contract, SPACE)) == 255


def test_the_json_of_a_collection_says_what_an_app_must_match(tmp_path):
    content = json.loads(to_json(loaded(tmp_path), SPACE), parse_constant=pytest.fail)
    assert content["fingerprint"] == SPACE.fingerprint
    assert (content["model"], content["dim"], content["normalised"]) == (SPACE.model, 512, True)
    assert content["index"] == {"type": "HNSW", "M": 16, "efConstruction": 200}
    assert content["fields"] == {"title": "VARCHAR", "price": "DOUBLE"}
    assert content["preprocessing"] == SPACE.preprocessing


def test_the_layout_names_the_collection_where_it_cannot_be_changed_later(tmp_path):
    bare = loaded(tmp_path)
    assert collection_name(bare, SPACE) == collection_name(loaded(tmp_path, f"{GOOD}\n[collection]"), SPACE)
    names = {
        collection_name(loaded(tmp_path, f"{GOOD}\n[collection]\n{line}"), SPACE)
        for line in ("shards = 2", "shards = 3", 'partition_key = "title"')
    }
    assert len(names | {collection_name(bare, SPACE)}) == 4
    more = loaded(tmp_path, f"{GOOD}\n[collection]\nreplicas = 3")
    assert more.layout.replicas == 3
    assert collection_name(more, SPACE) == collection_name(bare, SPACE)


def test_apps_are_told_the_partition_key(tmp_path):
    keyed = loaded(tmp_path, f'{GOOD}\n[collection]\npartition_key = "title"')
    assert json.loads(to_json(keyed, SPACE))["partition_key"] == "title"
    assert "partition_key" not in json.loads(to_json(loaded(tmp_path), SPACE))
