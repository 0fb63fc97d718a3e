"""The spooled list of rows to export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core.errors import StorageError
from ingest.core.records import ImageFile, Product, Reason, Skipped, Stage
from ingest.exports.row_list import ExportRows


def image_file(product_id: str, first: int) -> ImageFile:
    return ImageFile(Product(product_id, "", {}, 2), Path("x.jpg"), bytes([first, *range(31)]))


SKIPPED = Skipped("s", Stage.IMAGES, Reason.NOT_FOUND, "gone", 3)
RECORDS = [image_file("b", 0), SKIPPED, image_file('ü"\n', 255), image_file("a", 0)]


def test_images_are_read_back_in_order_any_number_of_times(tmp_path):
    wanted = ExportRows(tmp_path / "made")
    assert list(wanted.note(RECORDS)) == RECORDS
    pairs = [(record.product.product_id, record.sha256) for record in RECORDS if record is not SKIPPED]
    assert list(wanted.pairs()) == pairs
    assert list(wanted.pairs()) == pairs
    assert wanted.rows == 3
    wanted.close()


@given(st.data(), st.lists(st.booleans(), max_size=40), st.integers(0, 40))
def test_keys_that_come_later_in_any_order_make_the_same_list(data, have_images, first):
    """As images come from a cluster's workers; those that never come are products without an image."""
    images = [image_file(f"p{n}", n) for n in range(len(have_images))]
    kept = data.draw(st.permutations([image for image, has in zip(images, have_images, strict=True) if has]))
    with TemporaryDirectory() as folder:
        in_order, later = ExportRows(Path(folder)), ExportRows(Path(folder))
        for image, has_image in zip(images, have_images, strict=True):
            product_id = image.product.product_id
            list(in_order.note([image if has_image else replace(SKIPPED, product_id=product_id)]))
        places = {image.product.product_id: later.add(image.product.product_id) for image in images}
        for some in (kept[:first], kept[first:]):
            later.fill([(places[image.product.product_id], image.sha256) for image in some])
            list(later.products())
        assert list(later.products()) == list(in_order.products())
        assert (later.rows, later.content) == (in_order.rows, in_order.content)
        for rows in (in_order, later):
            rows.close()


def test_what_is_noted_after_the_content_was_asked_for_counts(tmp_path):
    rows = ExportRows(tmp_path)
    before = rows.content
    place = rows.add("a")
    assert (rows.rows, rows.content) == (0, before)
    rows.fill([(place, bytes(32))])
    list(rows.note([image_file("b", 1)]))
    assert rows.rows == 2
    assert list(rows.pairs()) == [("a", bytes(32)), ("b", image_file("b", 1).sha256)]
    rows.close()


def test_its_file_has_no_name_even_while_it_is_open(tmp_path):
    wanted = ExportRows(tmp_path)
    list(wanted.note(RECORDS))
    assert list(tmp_path.iterdir()) == []
    wanted.close()


def test_equal_lists_have_equal_content_and_others_do_not(tmp_path):
    def content(*records) -> str:
        wanted = ExportRows(tmp_path)
        list(wanted.note(records))
        found = wanted.content
        wanted.close()
        return found

    same = content(image_file("a", 1), image_file("b", 2))
    assert same == content(image_file("a", 1), SKIPPED, image_file("b", 2))
    others = [
        content(image_file("b", 2), image_file("a", 1)),
        content(image_file("a", 1)),
        content(image_file("a", 2), image_file("b", 1)),
        content(image_file("a", 1), image_file("b", 2), image_file("c", 2)),
        content(),
    ]
    assert len({same, *others}) == 6


def test_a_folder_that_cannot_be_created_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written") as caught:
        ExportRows(tmp_path / "file" / "below")
    assert len(str(caught.value).splitlines()) == 1
