"""What differs between a catalog and a collection, against a model in ten lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core.digest import row_digest
from ingest.core.records import ImageFile, Product, Reason, Skipped, Stage
from ingest.sync import diff
from ingest.sync.diff import CollectionDiff
from ingest.sync.inventory import Inventory
from ingest.sync.row_state import RowState

RED, BLUE = bytes([1] * 32), bytes([2] * 32)
ROW = st.tuples(st.sampled_from([RED, BLUE]), st.sampled_from(["mug", "chair"]))
COLLECTION = st.dictionaries(st.sampled_from("abcdefgh"), st.none() | ROW)
"""A row that ingest wrote, as (picture, title), or None for one that it did not."""

CATALOG = st.dictionaries(
    st.sampled_from("abcdefg"), st.tuples(ROW, st.sampled_from([None, Stage.IMAGES, Stage.DECODE]))
)
"""What is wanted, and the stage at which it cannot go on."""

NO_PRODUCTS = st.lists(st.sampled_from([Reason.BAD_ROW, Reason.NO_ID, Reason.DUPLICATE_ID]), max_size=4)


def picture(product_id: str, row: tuple[bytes, str]) -> ImageFile:
    return ImageFile(Product(product_id, "", {"title": row[1]}, 2), Path("x.jpg"), row[0])


def skipped(product_id: str, stage: Stage, reason: Reason = Reason.NOT_FOUND) -> Skipped:
    return Skipped(product_id, stage, reason, "", 2)


def collected(rows: dict[str, tuple[bytes, str] | None], space: str = "s") -> Inventory:
    """Return the inventory of a collection that holds `rows`."""
    digests = [
        "" if row is None else row_digest(picture(name, row).product, row[0], space) for name, row in rows.items()
    ]
    inventory = Inventory()
    inventory.add(list(rows), digests, ["" if row is None else row[0].hex() for row in rows.values()])
    return inventory


def passed(difference: CollectionDiff, records: list, failing: set[str] = frozenset()) -> list:
    """Send `records` down a line on which the pictures of `failing` cannot be decoded."""

    def decoded(changes):
        for record in changes:
            fails = isinstance(record, ImageFile) and record.product.product_id in failing
            yield skipped(record.product.product_id, Stage.DECODE, Reason.TRUNCATED) if fails else record

    return list(difference.failures(decoded(difference.changes(records))))


def names(records: list, kind: type) -> list[str]:
    return [one.product.product_id if kind is ImageFile else one.product_id for one in records if isinstance(one, kind)]


def fate(name: str, catalog: dict, collection: dict) -> str:
    """The model: what becomes of a product, or of a row that no product has."""
    wanted, fails = catalog.get(name, (None, None))
    there = collection.get(name)
    if name in collection and (there is None or wanted is None):
        return "foreign" if there is None else "gone"
    if fails is Stage.IMAGES or (fails is Stage.DECODE and wanted != there):
        return "failed"
    if there is None or wanted == there:
        return "added" if there is None else "same"
    return "metadata" if wanted[0] == there[0] else "picture" if wanted[1] == there[1] else "both"


@given(CATALOG, COLLECTION, NO_PRODUCTS, st.integers(1, 5))
def test_what_differs_is_yielded_and_each_row_meets_its_fate(catalog, collection, others, batch):
    fates = {name: fate(name, catalog, collection) for name in {**collection, **catalog}}
    records = [skipped(name, at) if at is Stage.IMAGES else picture(name, row) for name, (row, at) in catalog.items()]
    twice = next(iter(catalog), "z")
    records += [skipped(twice if why is Reason.DUPLICATE_ID else "", Stage.CATALOG, why) for why in others]
    difference = CollectionDiff(collected(collection), "s")
    with mock.patch.object(diff, "_BATCH", batch):
        out = passed(difference, records, {name for name, (_, at) in catalog.items() if at is Stage.DECODE})

    def those(*wanted: str, among: dict = collection) -> list[str]:
        return [name for name in among if fates[name] in wanted]

    assert names(out, ImageFile) == those("added", "picture", "metadata", "both", among=catalog)
    left = [name for name, (_, at) in catalog.items() if fates[name] in ("failed", "foreign") or at is Stage.IMAGES]
    assert names(out, Skipped) == left + names(records[len(catalog) :], Skipped)
    assert [name for name, _ in difference.inventory.ids({RowState.GONE})] == those("gone")
    assert [name for name, _ in difference.inventory.ids({RowState.FAILED})] == those("failed")
    assert difference.added == len(those("added", among=catalog))
    assert difference.changed == {name: len(those(name)) for name in ("picture", "metadata", "both")}
    assert (difference.unchanged, difference.gone) == (len(those("same")), len(those("gone")))
    assert (difference.stale, difference.ours) == (len(those("failed")), len(collection) - len(those("foreign")))
    assert difference.unreadable == sum(why is not Reason.DUPLICATE_ID for why in others)
    assert {name: difference.kind(name) for name in collection} == {name: fates[name] for name in collection}
    assert {difference.kind(name) for name in set(catalog) - set(collection)} <= {"added"}


def test_a_second_pass_finds_nothing_to_do():
    rows = {f"p{number}": (RED, str(number)) for number in range(100)}
    difference = CollectionDiff(collected(rows), "s")
    assert passed(difference, [picture(*item) for item in rows.items()]) == []
    assert (difference.unchanged, difference.added, difference.gone) == (100, 0, 0)


def test_under_another_model_every_row_differs():
    rows = {"a": (RED, "mug"), "b": (BLUE, "mug")}
    records = [picture(*item) for item in rows.items()]
    difference = CollectionDiff(collected(rows, "another"), "s")
    assert passed(difference, records) == records
    assert difference.unchanged == 0


def test_ids_that_swap_their_pictures_are_both_written_again():
    swapped = [picture("a", (BLUE, "mug")), picture("b", (RED, "mug"))]
    difference = CollectionDiff(collected({"a": (RED, "mug"), "b": (BLUE, "mug")}), "s")
    assert passed(difference, swapped) == swapped
    assert difference.changed == {"picture": 2, "metadata": 0, "both": 0}


def test_a_distrusted_row_is_written_again():
    there = collected({"a": (RED, "mug"), "b": (RED, "mug")})
    there.distrust(there.find(["a"]))
    difference = CollectionDiff(there, "s")
    assert names(passed(difference, [picture("a", (RED, "mug")), picture("b", (RED, "mug"))]), ImageFile) == ["a"]


def test_a_row_of_another_program_is_left_alone_and_the_product_skipped_with_a_way_out():
    difference = CollectionDiff(collected({"theirs": None}), "s")
    (record,) = passed(difference, [picture("theirs", (RED, "mug"))])
    assert (record.stage, record.reason, record.line) == (Stage.MILVUS, Reason.FOREIGN_ROW, 2)
    assert "delete it, or rename the product" in record.detail
    assert (difference.ours, difference.added, difference.gone, difference.stale) == (0, 0, 0, 0)


def test_a_second_line_with_a_products_id_does_not_make_its_row_stale():
    difference = CollectionDiff(collected({"a": (RED, "mug")}), "s")
    passed(difference, [picture("a", (RED, "mug")), skipped("a", Stage.CATALOG, Reason.DUPLICATE_ID)])
    assert (difference.unchanged, difference.stale) == (1, 0)


def test_a_broken_row_with_a_products_id_may_have_been_another_products():
    difference = CollectionDiff(collected({"a": (RED, "mug"), "a,5": (RED, "mug")}), "s")
    torn = replace(skipped("a", Stage.CATALOG, Reason.DUPLICATE_ID), is_torn=True)
    passed(difference, [picture("a", (RED, "mug")), torn])
    assert (difference.unchanged, difference.gone, difference.unreadable) == (1, 1, 1)


@pytest.mark.parametrize(("name", "found"), [("a", "same"), ("theirs", "foreign"), ("new", "added")])
def test_a_row_whose_product_is_still_to_be_fetched_is_not_gone(name, found):
    difference = CollectionDiff(collected({"a": (RED, "mug"), "b": (RED, "mug"), "theirs": None}), "s")
    difference.hold(name)
    assert difference.kind(name) == found
    assert difference.gone == (1 if name == "a" else 2)
    assert (difference.added, difference.unchanged) == (0, 0)


def test_what_was_judged_is_not_held_back_by_the_rest_of_an_endless_catalog():
    def endless():
        while True:
            yield picture("a", (RED, "mug"))

    assert next(CollectionDiff(Inventory(), "s").changes(endless())) == picture("a", (RED, "mug"))


def test_a_row_is_of_an_image_whatever_else_it_says_and_nothing_is_recorded():
    difference = CollectionDiff(collected({"a": (RED, "mug"), "b": (BLUE, "mug"), "theirs": None}), "s")
    images = [picture("b", (RED, "mug")), picture("a", (RED, "renamed")), picture("new", (RED, "mug"))]
    assert difference.have_image(images) == [False, True, False]
    assert (difference.gone, difference.unchanged, difference.added) == (2, 0, 0)
