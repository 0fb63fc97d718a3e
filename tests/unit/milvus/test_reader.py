"""An inventory of the rows that a collection yields."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from ingest.milvus.reader import read_inventory
from ingest.store.local import LocalStore
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = "7" * 32


def sha256(word: str) -> bytes:
    return hashlib.sha256(word.encode()).digest()


class Pages:
    """The rows of a collection, (id, digest, image) each, two at a time."""

    def __init__(self, *rows: tuple[str, str, str]) -> None:
        self._rows = [dict(zip(("product_id", "row_digest", "image_sha256"), row, strict=True)) for row in rows]

    def rows(self) -> Iterator[list[dict[str, str]]]:
        for at in range(0, len(self._rows), 2):
            yield self._rows[at : at + 2]


def test_rows_of_all_pages_are_read_in_order() -> None:
    found = read_inventory(Pages(*((f"P{number}", OURS, sha256("mug").hex()) for number in range(5))))
    assert [name for name, _ in found.ids({RowState.GONE})] == ["P0", "P1", "P2", "P3", "P4"]
    assert found.unstored.tolist() == []
    assert len(read_inventory(Pages())) == 0


def test_rows_of_ours_whose_vector_the_store_lacks_are_named_by_their_places(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, 4)
    store.add([sha256("mug")], np.eye(4, dtype=np.float32)[:1])
    mug, lamp = sha256("mug").hex(), sha256("lamp").hex()
    pages = Pages(("a", OURS, mug), ("b", OURS, lamp), ("c", "", lamp), ("d", OURS, "no image"), ("e", OURS, lamp))
    assert read_inventory(pages, store).unstored.tolist() == [1, 4]
    assert read_inventory(Pages(), store).unstored.tolist() == []


def test_rows_that_share_their_id_count_as_changed_whatever_page_they_are_on() -> None:
    found = read_inventory(Pages(("a", OURS, ""), ("b", OURS, ""), ("c", OURS, ""), ("a", OURS, "")))
    assert [found.digest(place) == OURS for place in range(3)] == [False, True, True]
    assert found.states[3] == RowState.DOUBLE
