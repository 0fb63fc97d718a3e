"""The names under which a product's image may be found."""

from __future__ import annotations

import pytest

from ingest.images.cache import files


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "cache"
    made.mkdir()
    return made


def names(folder, product_id):
    return list(files.product_files(folder, product_id, ignores_case=False))


def test_each_file_of_a_product_comes_once(folder):
    for name in ("p1.png", "p1.jpg", "p1.txt", "p10.jpg"):
        (folder / name).touch()
    assert names(folder, "p1") == ["p1.jpg", "p1.png"]
    assert names(folder, "P1") == []


@pytest.mark.parametrize("product_id", ["../secret", "sub/secret"])
def test_an_id_that_is_a_path_finds_nothing_outside_of_the_folder_or_below_it(folder, product_id):
    (folder / "sub").mkdir()
    for path in (folder.parent / "secret.jpg", folder / "sub" / "secret.jpg"):
        path.touch()
    assert names(folder, product_id) == []
