"""The spooled list of what the catalog wants."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.core.errors import StorageError
from ingest.core.records import ImageFile, Product, Reason, Skipped, Stage
from ingest.exports.row_list import ExportRows


def picture(product_id: str, first: int) -> ImageFile:
    return ImageFile(Product(product_id, "", {}, 2), Path("x.jpg"), bytes([first, *range(31)]))


SKIPPED = Skipped("s", Stage.IMAGES, Reason.NOT_FOUND, "gone", 3)
RECORDS = [picture("b", 0), SKIPPED, picture('ü"\n', 255), picture("a", 0)]


def test_it_gives_back_the_pictures_in_order_any_number_of_times(tmp_path):
    wanted = ExportRows(tmp_path / "made")
    assert list(wanted.note(RECORDS)) == RECORDS
    pairs = [(record.product.product_id, record.sha256) for record in RECORDS if record is not SKIPPED]
    assert list(wanted.pairs()) == pairs
    assert list(wanted.pairs()) == pairs
    assert wanted.rows == 3
    wanted.close()


def test_it_leaves_no_file_behind_not_even_while_it_lives(tmp_path):
    wanted = ExportRows(tmp_path)
    list(wanted.note(RECORDS))
    assert list(tmp_path.iterdir()) == []
    wanted.close()


def test_two_passes_that_want_the_same_have_the_same_content_and_others_do_not(tmp_path):
    def content(*records) -> str:
        wanted = ExportRows(tmp_path)
        list(wanted.note(records))
        wanted.close()
        return wanted.content

    same = content(picture("a", 1), picture("b", 2))
    assert same == content(picture("a", 1), SKIPPED, picture("b", 2))
    others = [
        content(picture("b", 2), picture("a", 1)),
        content(picture("a", 1)),
        content(picture("a", 2), picture("b", 1)),
        content(picture("a", 1), picture("b", 2), picture("c", 2)),
        content(),
    ]
    assert len({same, *others}) == 6


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written") as caught:
        ExportRows(tmp_path / "file" / "below")
    assert len(str(caught.value).splitlines()) == 1
