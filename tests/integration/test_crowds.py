"""Many products that look the same on a real server: none of them keeps the collection from being served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.crowd import SPREADS, crowded, members
from support.shop import contract_in

from ingest.core import contract_file
from ingest.milvus import checks

if TYPE_CHECKING:
    from pathlib import Path

EQUAL, _, ROUNDED = SPREADS.values()


@pytest.mark.parametrize(("size", "spread"), [(2, ROUNDED), (11, EQUAL), (50, EQUAL), (500, ROUNDED), (5000, EQUAL)])
def test_a_crowd_of_any_size_is_right_on_a_server(
    milvus_uri: str, collection_name: str, tmp_path: Path, size: int, spread: float
) -> None:
    contract = contract_file.load(contract_in(tmp_path, collection_name))
    with crowded(milvus_uri, contract, tmp_path, size, spread) as (collection, store):
        assert list(checks.index(collection)) == []
        assert list(checks.vectors(collection, store, members(size))) == []
