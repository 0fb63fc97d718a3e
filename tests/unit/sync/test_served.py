"""What apps find, compared with a catalog's ids and with what another collection has."""

from __future__ import annotations

from ingest.sync.high_water import HighWater
from ingest.sync.inventory import Inventory
from ingest.sync.row_state import RowState
from ingest.sync.served import ServedRows

DIGEST, SHA256 = "0" * 32, "0" * 64


def served(*ids: str, foreign: tuple[str, ...] = ()) -> ServedRows:
    rows = Inventory()
    digests = ["" if one in foreign else DIGEST for one in ids]
    rows.add(ids, digests, [SHA256] * len(ids))
    rows.distrust_duplicates()
    return ServedRows(rows, HighWater((9,)))


def test_products_are_counted_once():
    found = served("a", "b", "a")
    assert (found.count, found.most) == (2, 9)


def test_what_a_catalog_lacks_is_found_by_id_whatever_is_repeated():
    lost, new, ids = served("a", "b", "c", "b").lacking([["c", "x", "c"], ["y", "x"]], enough=2)
    assert lost.tolist() == [True, True, False]
    assert (new, ids) == (3, 5)


def test_a_catalog_is_not_read_further_than_to_enough_of_the_products():
    def blocks():
        yield ["a", "x"]
        yield ["b"]
        raise AssertionError

    lost, _, _ = served("a", "b", "c").lacking(blocks(), enough=2)
    assert lost.tolist() == [False, False, True]


def test_rows_are_settled_by_the_catalog_and_by_what_the_new_collection_has():
    found = served("gone", "fails", "good", "theirs", "taken", foreign=("theirs", "taken"))
    found.settle(["fails", "good", "theirs", "new"], ["good", "taken", "new"])
    states = dict(found.rows.ids(list(RowState)))
    assert states == {
        "gone": RowState.GONE, "fails": RowState.FAILED, "good": RowState.SAME, "theirs": RowState.FOREIGN,
        "taken": RowState.SAME,
    }  # fmt: skip
