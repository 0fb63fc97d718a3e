"""Catalogs of several files: which files belong to one, and that they read as one."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.catalog_parts import written

from ingest.catalog import files, reader
from ingest.catalog.rows import Columns
from ingest.core import contract_file
from ingest.core.errors import CatalogError, ConfigError
from ingest.core.records import Product, Reason, Skipped

SHIPPED = contract_file.load(contract_file.default_path())


def put(folder: Path, *names: str, content: str = "product_id,image\n") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")


def names(catalog: Path) -> list[str]:
    return [file.name for file in files.list_files(catalog)]


def everything(catalog: Path) -> list[Product | Skipped]:
    return list(reader.read_catalog(catalog, SHIPPED, Columns()))


def complaint(catalog: Path) -> str:
    with pytest.raises(CatalogError) as caught:
        everything(catalog)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_folder_is_its_files_by_name_without_those_that_spark_adds(tmp_path):
    put(tmp_path, "part-10.csv", "part-02.csv", "_SUCCESS", ".part-02.csv.crc", "_temporary/part-03.csv")
    put(tmp_path, "images/1.png", "older/part-01.csv")
    assert names(tmp_path) == ["part-02.csv", "part-10.csv"]


def test_a_glob_is_the_files_it_matches(tmp_path):
    put(tmp_path, "a/1.csv", "a/2.csv", "b/1.csv", "b/1.tsv", "b/_1.csv", "1.csv", "a/deep/1.csv", ".git/1.csv")
    assert names(tmp_path / "*" / "*.csv") == ["a/1.csv", "a/2.csv", "b/1.csv"]
    assert names(tmp_path / "[ac]" / "?.csv") == ["a/1.csv", "a/2.csv"]
    assert names(tmp_path / "a" / "*.csv") == ["1.csv", "2.csv"]
    assert names(tmp_path / "**" / "1.csv") == ["1.csv", "a/1.csv", "a/deep/1.csv", "b/1.csv"]
    assert names(tmp_path / "**" / "**" / "deep" / "*.csv") == ["a/deep/1.csv"]
    assert names(tmp_path / "**" / "deep" / "**" / "1.csv") == ["a/deep/1.csv"]
    assert names(tmp_path / "a" / "**") == ["1.csv", "2.csv", "deep/1.csv"]


def test_a_glob_without_a_folder_is_matched_in_the_working_directory(tmp_path, monkeypatch):
    put(tmp_path, "1.csv", "2.csv")
    monkeypatch.chdir(tmp_path)
    assert [str(file) for file in files.list_files(Path("*.csv"))] == ["1.csv", "2.csv"]
    assert files.folder_of(Path("*.csv")) == Path()


def test_a_file_with_a_wildcard_in_its_name_is_found(tmp_path):
    put(tmp_path, "products [1].csv", "products 1.csv")
    assert names(tmp_path / "products [1].csv") == ["products [1].csv"]
    assert files.folder_of(tmp_path / "products [1].csv") == tmp_path


@pytest.mark.parametrize(
    ("there", "catalog", "word"),
    [
        ([], "none.csv", "no such file or folder"),
        (["_SUCCESS"], ".", "has no files, except any that begin with _ or ."),
        (["a.csv"], "*.tsv", "matches no files"),
        (["a.csv"], "none/*.csv", "none: cannot be listed: No such file or directory"),
        (["a.csv", "b.csv.gz"], ".", "has files of two formats, a.csv and b.csv.gz; choose one, such as "),
        (["a.csv", "README.md"], ".", "README.md: unknown ending"),
        (["day=1/a.parquet"], ".", "day=1: is a folder of part files, not a file; name the files in it: "),
        (["a.parquet/1.parquet", "b.parquet/1.parquet"], "*.parquet", "a.parquet: is a folder of part files"),
    ],
)
def test_a_catalog_that_may_be_incomplete_is_one_line_that_says_what_to_do(tmp_path, there, catalog, word):
    put(tmp_path, *there)
    assert word in complaint(tmp_path / catalog)


def test_a_url_that_lost_a_slash_is_not_a_path():
    with pytest.raises(ConfigError, match=r"--catalog s3:/shop/a\.csv: a URL needs two slashes: s3://shop/a\.csv"):
        files.list_files(Path("s3://shop/a.csv"))


def test_relative_paths_start_from_the_catalogs_folder(tmp_path):
    put(tmp_path, "a/1.csv")
    assert files.folder_of(tmp_path / "a" / "1.csv") == tmp_path / "a"
    assert files.folder_of(tmp_path / "a") == tmp_path / "a"
    assert files.folder_of(tmp_path / "*" / "1.csv") == tmp_path
    assert files.folder_of("s3://shop/a.csv") is None


def test_a_row_is_reported_with_its_file_and_its_line(tmp_path):
    put(tmp_path, "1.csv", content="product_id,image,title\na,a.jpg,A\nb,,B\n")
    put(tmp_path, "2.csv", content="product_id,image,title\nc,c.jpg,C\n")
    put(tmp_path, "3.csv", content="product_id,image,title\n\nb,b.jpg,B\nd,d.jpg,D\nd,e.jpg,E\n")
    found = everything(tmp_path)
    assert [(item.product_id, item.file, item.line) for item in found] == [
        ("a", "1.csv", 2), ("b", "1.csv", 3), ("c", "2.csv", 2),
        ("b", "3.csv", 3), ("d", "3.csv", 4), ("d", "3.csv", 5),
    ]  # fmt: skip
    assert [item.detail for item in found if isinstance(item, Skipped) and item.reason is Reason.DUPLICATE_ID] == [
        "first seen in line 3 of 1.csv", "first seen in line 4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("sku,image\n1,a\n", "2.csv: no column 'product_id'"),
        ("", "2.csv: is empty; its first line must name the columns"),
        ('product_id,"image\n1,a\n', "2.csv line 1: a quoted cell is not closed"),
    ],
)
def test_a_broken_part_is_reported_after_the_rows_before_it(tmp_path, content, word):
    put(tmp_path, "1.csv", content="product_id,image\na,a.jpg\n")
    put(tmp_path, "2.csv", content=content)
    items = reader.read_catalog(tmp_path, SHIPPED, Columns())
    assert next(items).product_id == "a"
    with pytest.raises(CatalogError, match=word):
        list(items)


def test_not_every_json_lines_part_needs_an_image_or_a_row(tmp_path):
    put(tmp_path, "1.jsonl", "4.jsonl", content="\n")
    put(tmp_path, "2.jsonl", content='{"product_id": "a", "image": "a.jpg"}\n')
    put(tmp_path, "3.jsonl", content='{"product_id": "b"}\n')
    first, second = everything(tmp_path)
    assert isinstance(first, Product)
    assert second.reason is Reason.NO_IMAGE
    put(tmp_path, "2.jsonl", "3.jsonl", content="\n")
    assert complaint(tmp_path).startswith(f"{tmp_path}: is empty, it has no products")


def test_an_estimate_is_the_sum_of_all_files(tmp_path):
    put(tmp_path, "1.csv", "2.csv", content="product_id,image\na,a.jpg\nb,b.jpg\n")
    assert reader.estimate(tmp_path) == 4
    put(tmp_path, "empty.csv", content="product_id,image\n")
    assert reader.estimate(tmp_path / "*.csv") == 4
    assert reader.estimate(tmp_path / "*.tsv") is None


cell = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


@settings(deadline=None, max_examples=60)
@given(
    table=st.lists(st.tuples(st.from_regex(r"[0-9]{0,2}", fullmatch=True), cell, cell), min_size=1, max_size=12),
    cuts=st.sets(st.integers(0, 12), max_size=4),
    kind=st.sampled_from([".csv", ".tsv", ".csv.gz", ".jsonl", ".jsonl.gz", ".parquet"]),
)
def test_a_catalog_split_into_files_anywhere_gives_the_products_of_the_one_file(table, cuts, kind):
    def told(catalog: Path) -> list[tuple]:
        return [
            (item.product_id, item.image, item.metadata | {"price": 0}) if isinstance(item, Product)
            else (item.product_id, item.reason)
            for item in everything(catalog)
        ]  # fmt: skip

    with tempfile.TemporaryDirectory() as name:
        one, parts = Path(name) / f"one{kind}", Path(name) / "parts"
        one.write_bytes(written(kind, table))
        parts.mkdir()
        edges = [0, *sorted(cuts), len(table)]
        for number, (start, end) in enumerate(pairwise(edges)):
            if kind.startswith(".jsonl") and not table[start:end]:
                continue  # a file of 0 bytes is an error
            (parts / f"part-{number}{kind}").write_bytes(written(kind, table[start:end]))
        assert told(parts) == told(one)
