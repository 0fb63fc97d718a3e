"""Images inside of Parquet, as data sets have them, become files that a run finds like any other."""

from __future__ import annotations

import threading
from dataclasses import replace

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from support.image_files import saved

from ingest.catalog import reader
from ingest.catalog.options import ReadOptions
from ingest.catalog.rows import Columns
from ingest.catalog.unpacked_images import unpack
from ingest.core import contract_file
from ingest.core.errors import StorageError
from ingest.core.image_list import ImageList
from ingest.core.settings import Settings
from ingest.pipeline.progress import Progress
from ingest.tasks import fetch

SHIPPED = contract_file.load(contract_file.default_path())


@pytest.fixture
def pictures() -> list[bytes]:
    return [saved(Image.new("RGB", (64, 64), colour), "JPEG") for colour in ((200, 10, 10), (10, 10, 200))]


def columns_with(pictures: list[bytes]) -> dict[str, pa.Array]:
    return {
        "structs": pa.array([{"bytes": one, "path": "a.jpg"} for one in pictures]),
        "bytes": pa.array(pictures, pa.binary()),
        "lists": pa.array([[{"bytes": one, "path": None}, {"bytes": pictures[0], "path": None}] for one in pictures]),
    }


@pytest.mark.parametrize("kind", ["structs", "bytes", "lists"])
def test_an_image_inside_is_a_file_named_by_its_content(tmp_path, pictures, kind):
    table = pa.table({"product_id": ["1", "2"], "image": columns_with(pictures)[kind]})
    parquet.write_table(table, tmp_path / "p.parquet")
    columns = Columns(options=ReadOptions(unpack_to=tmp_path / "data" / "unpacked"))
    products = list(reader.read_catalog(tmp_path / "p.parquet", SHIPPED, columns))
    assert [(tmp_path / "data" / "unpacked" / one.image).read_bytes() for one in products] == pictures
    assert [one.metadata["image"] for one in products] == [one.image for one in products]
    assert len(list((tmp_path / "data" / "unpacked").iterdir())) == 2


def test_a_fetch_finds_the_images_inside(tmp_path, pictures):
    table = pa.table({"product_id": ["1", "2"], "image": columns_with(pictures)["structs"]})
    parquet.write_table(table, tmp_path / "p.parquet")
    settings = Settings(catalog=tmp_path / "p.parquet", data=tmp_path / "data")
    found = fetch.fetch(settings, Progress(), threading.Event())
    assert (found.products, found.pictures, found.skipped) == (2, 2, 0)


@pytest.mark.parametrize("kind", ["structs", "bytes", "lists"])
def test_the_images_of_every_column_of_the_schema_are_unpacked(tmp_path, pictures, kind):
    table = pa.table({"product_id": ["1", "2"], "image": ["a.jpg", None], "back": columns_with(pictures)[kind]})
    parquet.write_table(table, tmp_path / "p.parquet")
    columns = Columns(options=ReadOptions(unpack_to=tmp_path / "unpacked"))
    contract = replace(SHIPPED, images=ImageList(columns=("back",)))
    first, second = reader.read_catalog(tmp_path / "p.parquet", contract, columns)
    assert first.image == "a.jpg"
    assert [(tmp_path / "unpacked" / one).read_bytes() for one in (first.more_images[0], second.image)] == pictures


@pytest.mark.parametrize("catalog", ["parts", "parts/*.parquet"])
def test_the_first_fetch_of_a_folder_finds_the_images_inside(tmp_path, pictures, catalog):
    (tmp_path / "parts").mkdir()
    table = pa.table({"product_id": ["1", "2"], "image": columns_with(pictures)["bytes"]})
    parquet.write_table(table, tmp_path / "parts" / "p.parquet")
    settings = Settings(catalog=tmp_path / catalog, data=tmp_path / "data")
    found = fetch.fetch(settings, Progress(), threading.Event())
    assert (found.products, found.pictures, found.skipped) == (2, 2, 0)


def test_a_path_without_bytes_stays_a_path_and_text_stays_text(tmp_path):
    assert unpack({"bytes": None, "path": "a.jpg"}, tmp_path) == "a.jpg"
    assert unpack(b"a.jpg", tmp_path) == b"a.jpg"
    assert unpack(["a.jpg", "b.jpg"], tmp_path) == ["a.jpg", "b.jpg"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "ending"),
    [("BMP", "bmp"), ("WEBP", "webp"), ("TIFF", "tiff"), ("AVIF", "avif"), ("GIF", "gif"), ("PNG", "png")],
)
def test_every_type_that_a_run_reads_is_unpacked(tmp_path, kind, ending):
    content = saved(Image.new("RGB", (16, 16), (10, 200, 10)), kind)
    assert (tmp_path / unpack(content, tmp_path)).read_bytes() == content
    assert unpack(content, tmp_path).endswith(f".{ending}")


@pytest.mark.parametrize("text", [b"BMW-320.jpg", b"BM/a.jpg", b"RIFFs/1.jpg", b"GIF8.jpg", b"\x89PNG.jpg"])
def test_text_that_begins_as_an_image_does_stays_text(tmp_path, text):
    assert unpack(text, tmp_path) == text
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_ends_the_run(tmp_path, pictures):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be unpacked"):
        unpack(pictures[0], tmp_path / "file" / "unpacked")
