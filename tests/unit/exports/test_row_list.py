"""The spooled list of rows to export."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_its_file_has_no_name_even_while_it_is_open(tmp_path):
    wanted = ExportRows(tmp_path)
    list(wanted.note(RECORDS))
    assert list(tmp_path.iterdir()) == []
    wanted.close()


def test_equal_lists_have_equal_content_and_others_do_not(tmp_path):
    def content(*records) -> str:
        wanted = ExportRows(tmp_path)
        list(wanted.note(records))
        wanted.close()
        return wanted.content

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
