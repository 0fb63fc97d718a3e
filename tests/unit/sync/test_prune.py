"""Which rows may be deleted, by the settings and by what the collection and apps would lose."""

from __future__ import annotations

import pytest

from ingest.core.errors import ConfigError
from ingest.core.settings import Settings
from ingest.sync.diff import CollectionDiff
from ingest.sync.high_water import HighWater
from ingest.sync.inventory import Inventory
from ingest.sync.prune import PrunePolicy
from ingest.sync.row_state import RowState
from ingest.sync.served import ServedRows

GONE, FAILED, SAME, FOREIGN, DOUBLE = (
    RowState.GONE, RowState.FAILED, RowState.SAME, RowState.FOREIGN, RowState.DOUBLE,
)  # fmt: skip


def rows(*states: RowState) -> Inventory:
    inventory = Inventory()
    names = [f"P{number}" for number in range(len(states))]
    inventory.add(names, ["0" * 32] * len(states), ["0" * 64] * len(states))
    inventory.states[:] = states
    return inventory


def difference(*states: RowState, served: Inventory | None = None, most: int = 0) -> CollectionDiff:
    """Return the difference of a collection with such rows, which serves itself unless something else is `served`."""
    there = rows(*states)
    return CollectionDiff(there, "s", ServedRows(there if served is None else served, HighWater.of([most])))


def policy(**settings: object) -> PrunePolicy:
    return PrunePolicy.of(Settings(**settings))


@pytest.mark.parametrize("share", [-0.01, 1.01, 20.0, -1.0, float("nan")])
def test_a_share_outside_of_0_to_1_is_refused(share):
    with pytest.raises(ConfigError, match="must be a share from 0 to 1"):
        policy(max_prune=share)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_row_and_any_row_are_shares(share):
    assert policy(max_prune=share).share == share


def test_without_a_flag_nothing_is_deleted():
    assert policy().states == frozenset()
    found = difference(GONE, FAILED, *[SAME] * 8)
    assert policy().refusal(found) == ""
    assert list(policy().ids(found)) == []


def test_each_flag_deletes_its_own_rows_and_no_others():
    found = difference(GONE, FAILED, *[SAME] * 6, FOREIGN, DOUBLE, FOREIGN)
    assert list(policy(prune=True).ids(found)) == ["P0"]
    assert list(policy(drop_failed=True).ids(found)) == ["P1"]
    assert list(policy(prune=True, drop_failed=True, max_prune=0.25).ids(found)) == ["P0", "P1"]
    assert policy(drop_failed=True).drops_failed(found)
    assert not policy(prune=True).drops_failed(found)


def test_rows_of_others_do_not_make_the_share_smaller():
    """One of four of our rows is more than a fifth, whatever else is in the collection."""
    found = difference(GONE, *[SAME] * 3, *[FOREIGN] * 20, *[DOUBLE] * 20)
    assert policy(prune=True).refusal(found).startswith("1 of 4 rows would be deleted, more than --max-prune 0.2")
    assert list(policy(prune=True).ids(found)) == []
    assert policy(prune=True, max_prune=0.25).refusal(found) == ""


def test_what_apps_found_lately_counts_unless_the_user_says_otherwise():
    found = difference(GONE, *[SAME] * 7, most=9)
    assert "which leaves 7, fewer than 80% of the 9 of the last seven runs" in policy(prune=True).refusal(found)
    assert policy(prune=True, allow_smaller=True).refusal(found) == ""
    assert policy(prune=True).refusal(difference(GONE, *[SAME] * 7, most=8)) == ""


def test_of_two_collections_each_must_keep_enough():
    few, many = [GONE, *[SAME] * 9], [*[GONE] * 3, *[SAME] * 7]
    assert "3 of 10 rows" in policy(prune=True).refusal(difference(*few, served=rows(*many)))
    assert "3 of 10 rows" in policy(prune=True).refusal(difference(*many, served=rows(*few)))
    assert policy(prune=True).refusal(difference(*few, served=rows(*few))) == ""
    first_night = CollectionDiff(rows(*few), "s")
    assert [loss.lost for loss in policy(prune=True).losses(first_night)] == [1]


@pytest.mark.parametrize(
    ("there", "served", "flags", "is_refused"),
    [
        ([GONE, *[SAME] * 9], None, {"prune": True}, True),
        ([GONE, *[SAME] * 9], [SAME] * 10, {"prune": True}, True),
        ([SAME] * 10, [GONE, *[SAME] * 9], {"prune": True}, True),
        ([FAILED, *[SAME] * 9], None, {"prune": True, "drop_failed": True}, False),
        ([GONE, FAILED, *[SAME] * 9], None, {"drop_failed": True}, False),
        ([SAME] * 10, None, {"prune": True}, False),
    ],
)
def test_a_product_in_a_row_that_cannot_be_read_is_not_gone(there, served, flags, is_refused):
    found = difference(*there, served=None if served is None else rows(*served))
    found.unreadable = 2
    assert ("2 rows of the catalog cannot be read" in policy(**flags).refusal(found)) == is_refused


def test_an_obstacle_is_named_if_there_is_something_to_delete():
    found = difference(GONE, *[SAME] * 9)
    found.obstacles.append("the catalog has changed")
    assert policy(prune=True).refusal(found) == "the catalog has changed"
    assert policy(drop_failed=True).refusal(found) == ""


def test_changes_say_what_is_deleted_and_leave_out_gone_rows_after_a_sample():
    found = difference(GONE, FAILED, *[SAME] * 8, FOREIGN)
    assert list(policy(prune=True).changes(found, gone=True)) == [("P0", "gone, deleted"), ("P1", "stale")]
    assert list(policy(drop_failed=True).changes(found, gone=False)) == [("P1", "stale, deleted")]
