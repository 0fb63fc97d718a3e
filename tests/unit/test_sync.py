"""What differs, against a model in ten lines."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.contract import row_digest
from ingest.records import Picture, Product, Reason, Skipped, Stage
from ingest.sync import Difference, changed

PICTURES = st.sampled_from([bytes([number] * 32) for number in range(3)])
ROW = st.tuples(PICTURES, st.sampled_from(["mug", "chair"]))
CATALOG = st.dictionaries(st.sampled_from("abcdefg"), st.one_of(st.none(), ROW), max_size=7)
COLLECTION = st.dictionaries(st.sampled_from("abcdefgh"), ROW, max_size=8)


def record(product_id: str, row: tuple[bytes, str] | None) -> Picture | Skipped:
    if row is None:
        return Skipped(product_id, Stage.IMAGES, Reason.NOT_FOUND, "gone", 2)
    return Picture(Product(product_id, "", {"title": row[1]}, 2), Path("x.jpg"), row[0])


def digest(product_id: str, row: tuple[bytes, str], space: str = "s") -> str:
    return row_digest(record(product_id, row).product, row[0], space)


@given(catalog=CATALOG, collection=COLLECTION)
@settings(max_examples=300, deadline=None)
def test_it_yields_what_differs_and_leaves_what_the_catalog_no_longer_names(catalog, collection):
    digests = {name: digest(name, row) for name, row in collection.items()}
    difference = Difference()
    records = [record(name, row) for name, row in catalog.items()]
    out = list(changed(records, digests, "s", difference))

    skipped = [name for name, row in catalog.items() if row is None]
    there = {name: row for name, row in catalog.items() if row is not None}
    differing = [name for name, row in there.items() if collection.get(name) != row]
    assert [r for r in out if isinstance(r, Skipped)] == [r for r in records if isinstance(r, Skipped)]
    assert [r.product.product_id for r in out if isinstance(r, Picture)] == differing
    assert out == [r for r in records if r in out], "in the catalog's order"
    assert set(digests) == set(collection) - set(catalog)
    assert difference.wanted == len(there) == len(catalog) - len(skipped)
    assert difference.unchanged == len(there) - len(differing)
    assert difference.added == len([name for name in differing if name not in collection])
    assert difference.changed == len(differing) - difference.added


@given(catalog=CATALOG)
@settings(deadline=None)
def test_what_was_written_is_unchanged_the_next_time_and_all_differs_under_another_model(catalog):
    rows = {name: row for name, row in catalog.items() if row is not None}
    records = [record(name, row) for name, row in rows.items()]
    for space, expected in (("s", []), ("another", records)):
        digests = {name: digest(name, row) for name, row in rows.items()}
        assert list(changed(records, digests, space, Difference())) == expected


def test_an_id_whose_picture_becomes_anothers_is_written_with_it():
    red, blue = bytes(32), bytes([1] * 32)
    digests = {"a": digest("a", (red, "mug")), "b": digest("b", (blue, "mug"))}
    swapped = [record("a", (blue, "mug")), record("b", (red, "mug"))]
    assert list(changed(swapped, digests, "s", Difference())) == swapped


def test_records_pass_one_by_one():
    def endless():
        while True:
            yield record("a", (bytes(32), "mug"))

    assert isinstance(next(changed(endless(), {}, "s", Difference())), Picture)
