"""What a collection holds, in little memory."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np

from ingest.runtime.hash_index import ABSENT
from ingest.sync.inventory import Inventory
from ingest.sync.row_state import RowState

ROWS = 100_000


def filled(rows: int) -> Inventory:
    inventory = Inventory()
    for start in range(0, rows, 16_384):
        numbers = range(start, min(rows, start + 16_384))
        inventory.add([f"P{n:07d}" for n in numbers], [f"{n:032x}" for n in numbers], [f"{n:064x}" for n in numbers])
    return inventory


def test_rows_are_found_with_their_digests():
    inventory = filled(1000)

    places = inventory.find(["P0000007", "nobody", "P0000999"])

    assert places.tolist() == [7, ABSENT, 999]
    assert inventory.digest(7) == f"{7:032x}"
    assert inventory.sha256(999) == (999).to_bytes(32, "big")
    assert inventory.count_duplicates() == 0


def test_a_row_takes_at_most_120_bytes():
    filled(10)
    tracemalloc.start()
    inventory = filled(ROWS)
    inventory.find(["P0000000"])
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held / ROWS <= 100
    assert peak / ROWS <= 120 + 60, "the batch that is being read comes on top"


def test_ids_come_back_by_fate_in_any_script():
    inventory = Inventory()
    names = ["a", "日本", "🫖" * 30, ""]
    inventory.add(names, ["0" * 32] * 4, ["0" * 64] * 4)
    inventory.states[[1, 3]] = RowState.SAME

    assert list(inventory.ids({RowState.SAME})) == [("日本", RowState.SAME), ("", RowState.SAME)]
    assert inventory.count(RowState.GONE) == 2


def test_a_row_without_a_digest_is_foreign_and_a_distrusted_one_has_none():
    inventory = Inventory()
    inventory.add(["theirs", "odd", "ours"], ["", "x" * 32, "1" * 32], ["", "", hashlib.sha256(b"").hexdigest()])

    assert inventory.states.tolist() == [RowState.FOREIGN, RowState.FOREIGN, RowState.GONE]
    inventory.distrust(np.array([2]))
    assert inventory.digest(2) == "0" * 32


def test_doubled_rows_are_counted():
    inventory = filled(10)
    inventory.add(["P0000003"], ["0" * 32], ["0" * 64])

    assert inventory.count_duplicates() == 1


def test_of_doubled_rows_the_first_is_distrusted_and_none_counts_as_gone():
    inventory = filled(10)
    inventory.add(["P0000003", "P0000004", "P0000003"], ["7" * 32, "", "8" * 32], ["0" * 64] * 3)

    inventory.distrust_duplicates()

    assert inventory.find(["P0000003", "P0000004"]).tolist() == [3, 4]
    assert inventory.digest(3) == "0" * 32
    assert inventory.states[[3, 10, 12]].tolist() == [RowState.GONE, RowState.DOUBLE, RowState.DOUBLE]
    assert inventory.states[[4, 11]].tolist() == [RowState.FOREIGN, RowState.FOREIGN], (
        "one of them is not ours to replace"
    )
    assert inventory.digest(5) == f"{5:032x}"


def test_doubled_rows_of_ours_are_not_those_of_another_program():
    inventory = filled(3)
    inventory.add(["P0000001"], ["7" * 32], ["0" * 64])
    inventory.distrust_duplicates()
    assert (inventory.count(RowState.DOUBLE), inventory.count(RowState.FOREIGN)) == (1, 0)


def test_digests_are_compared_with_those_of_another_inventory():
    first, second = filled(4), Inventory()
    second.add(["P0000002", "P0000001"], [f"{2:032x}", "7" * 32], ["0" * 64] * 2)
    assert first.has_digests(np.array([2, 1, 2]), second, np.array([0, 1, 1])).tolist() == [True, False, False]
