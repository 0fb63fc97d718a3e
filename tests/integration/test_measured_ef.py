"""The ef measured on a server's collection: every app reads it, later runs keep it; and filters find in full."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from ingest.core import contract_file
from ingest.core.contract import Space
from ingest.core.settings import MilvusSettings
from ingest.milvus import alias, versions
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.search.milvus_backend import SearchableCollection

DIM, ROWS = 16, 500
SPACE = Space("model", "1", DIM, {})


def test_a_measured_ef_outlives_a_run_with_another_schema_and_filters_find_all(
    milvus_uri: str, collection_name: str
) -> None:
    contract = replace(contract_file.load(contract_file.default_path()), alias=collection_name)
    vectors = np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with connect(MilvusSettings(milvus_uri, max_wait=30)) as connection:
        collection = Collection(connection, contract, SPACE)
        collection.prepare()
        connection.client.upsert(collection.name, [row(number, vectors) for number in range(ROWS)])
        collection.flush()
        alias.switch(connection, contract.alias, collection.name, None)
        served = SearchableCollection(connection, contract.alias)
        assert collection.is_indexed
        assert not served.is_exact
        assert efs(collection) == (64, 64, None)

        served.save_ef(33)
        assert efs(collection) == (33, 64, 33)

        changed = replace(contract, index=replace(contract.index, ef=128))
        later = Collection(connection, changed, SPACE)
        later.prepare()
        assert later.name == collection.name
        assert efs(later) == (33, 128, 33)
        assert SearchableCollection(connection, contract.alias).ef == 33
        [release] = versions.list_versions(connection, contract.alias)
        assert (release.ef, release.ef_schema, release.ef_measured) == (33, 128, 33)

        below = [f"P{number}" for number in range(0, ROWS, 50)]
        assert {hit.product_id for hit in served.search(vectors[1], 20, "price < 0.5")} == set(below)


def row(number: int, vectors: Any) -> dict[str, Any]:
    return {
        "product_id": f"P{number}", "embedding": vectors[number], "row_digest": "0" * 32, "image_sha256": "0" * 64,
        "title": "", "category": "", "colour": "", "brand": "", "image": "", "price": float(number % 50),
    }  # fmt: skip


def efs(collection: Collection) -> tuple[int, int, int | None]:
    contract = json.loads(collection.carried_contract())
    return contract["ef"], contract["ef_schema"], contract["ef_measured"]
