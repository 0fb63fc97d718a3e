"""Catalogs behind a URL, from an S3 server with injected faults: read completely, or an error."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import boto3
import pytest
from support.bucket import IGNORED
from support.catalog_parts import written
from support.http_server import Answer, Server
from support.object_storage import BUCKET

from ingest.catalog import files, reader, remote
from ingest.catalog.rows import Columns
from ingest.core import contract_file
from ingest.core.errors import CatalogError, ConfigError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from support.object_storage import Storage

SHIPPED = contract_file.load(contract_file.default_path())
KINDS = [".csv", ".csv.gz", ".jsonl", ".parquet"]

pytestmark = IGNORED


@pytest.fixture
def folder(request: pytest.FixtureRequest, storage: Storage) -> str:
    """A folder used by this test alone, without its bucket."""
    return hashlib.sha256(request.node.name.encode()).hexdigest()[:8]


def put(folder: str, name: str, content: bytes) -> None:
    client = boto3.client("s3")
    client.put_object(Bucket=BUCKET, Key=f"{folder}/{name}", Body=content)
    client.close()


def table(start: int, end: int) -> list[tuple[str, str, str]]:
    return [(f"P{number:04d}", f"{number}.jpg", f"Title {number}") for number in range(start, end)]


def ids(catalog: Path | str) -> list[str]:
    return [item.product_id for item in reader.read_catalog(catalog, SHIPPED, Columns())]


def parts(folder: str, kind: str, rows_each: int = 20) -> None:
    for number in range(3):
        content = written(kind, table(number * rows_each, (number + 1) * rows_each))
        put(folder, f"day{number}/part{kind}", content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_a_folder_and_a_glob_behind_a_url_are_read_as_on_a_disk(folder, tmp_path, kind):
    parts(folder, kind)
    local = tmp_path / f"one{kind}"
    local.write_bytes(written(kind, table(0, 60)))
    url = f"s3://{BUCKET}/{folder}"
    assert ids(f"{url}/day1/part{kind}") == ids(f"{url}/day1/") == ids(local)[20:40]
    assert ids(f"{url}/day*/*{kind}") == ids(f"{url}/**/part*") == ids(local)
    product = next(reader.read_catalog(f"{url}/**/part*", SHIPPED, Columns()))
    assert (product.file, product.line) == (f"day0/part{kind}", 1 if kind in (".parquet", ".jsonl") else 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_file_is_read_in_blocks(folder, storage, monkeypatch, kind):
    monkeypatch.setattr(remote, "_BLOCK", 1000)
    put(folder, f"one{kind}", written(kind, table(0, 2000)))
    storage.requests.clear()
    assert ids(f"s3://{BUCKET}/{folder}/one{kind}") == [row[0] for row in table(0, 2000)]
    assert sum(request.startswith("GET") for request in storage.requests) > 3


@pytest.mark.parametrize("fault", ["500", "cut"])
@pytest.mark.parametrize("part", ["day1/part", "list-type"])
@pytest.mark.parametrize("block", [300, 1 << 20])
def test_a_transient_fault_is_not_noticed(folder, storage, monkeypatch, fault, part, block):
    monkeypatch.setattr(remote, "_BLOCK", block)
    parts(folder, ".csv")
    storage.fail(fault, fault, part=part)
    assert ids(f"s3://{BUCKET}/{folder}/**/*.csv") == [row[0] for row in table(0, 60)]
    assert not storage.faults


@pytest.mark.parametrize("fault", ["500", "cut"])
@pytest.mark.parametrize("part", ["day1%2F", "day1/part"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_permanent_fault_ends_reading_and_never_shortens_the_catalog(folder, storage, fault, part, kind):
    parts(folder, kind)
    storage.fail(*[fault] * 99, part=part)
    with pytest.raises(StorageError, match=rf"s3://{BUCKET}/{folder}/day1.* cannot be (read|listed) ") as raised:
        ids(f"s3://{BUCKET}/{folder}/**/*{kind}")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_file_that_fails_in_its_middle_is_a_storage_error(folder, storage, monkeypatch, kind):
    monkeypatch.setattr(remote, "_BLOCK", 1000)
    put(folder, f"one{kind}", written(kind, table(0, 5000)))
    items = reader.read_catalog(f"s3://{BUCKET}/{folder}/one{kind}", SHIPPED, Columns())
    assert next(items).product_id == "P0000"
    storage.fail(*["cut"] * 99, part="one")
    with pytest.raises(StorageError, match=rf"/one{kind}: cannot be read"):
        list(items)


def test_a_file_replaced_while_it_is_read_is_an_error(folder, storage, monkeypatch):
    monkeypatch.setattr(remote, "_BLOCK", 1000)
    put(folder, "one.csv", written(".csv", table(0, 2000)))
    items = reader.read_catalog(f"s3://{BUCKET}/{folder}/one.csv", SHIPPED, Columns())
    next(items)
    put(folder, "one.csv", written(".csv", table(4000, 6000)))
    with pytest.raises(CatalogError, match=r"one\.csv: changed while it was read; run again"):
        list(items)


def test_a_part_deleted_after_it_was_listed_is_an_error(folder, storage, monkeypatch):
    parts(folder, ".csv")
    items = reader.read_catalog(f"s3://{BUCKET}/{folder}/**/*.csv", SHIPPED, Columns())
    boto3.client("s3").delete_object(Bucket=BUCKET, Key=f"{folder}/day1/part.csv")
    with pytest.raises(CatalogError, match=r"day1/part\.csv: was deleted after it was listed; run again"):
        list(items)


def test_small_files_cost_one_request_each(folder, storage):
    parts(folder, ".parquet")
    storage.requests.clear()
    assert len(ids(f"s3://{BUCKET}/{folder}/**/*.parquet")) == 60
    assert len([request for request in storage.requests if "part" in request]) == 3


def test_only_a_few_remote_parquet_files_are_estimated(folder, storage):
    parts(folder, ".parquet")
    parts(folder, ".csv")
    assert reader.estimate(f"s3://{BUCKET}/{folder}/**/*.parquet") == 60
    assert reader.estimate(f"s3://{BUCKET}/{folder}/**/*.csv") is None
    assert reader.estimate(f"s3://{BUCKET}/{folder}/none") is None


def test_the_object_that_represents_a_folder_is_not_a_part(folder):
    put(folder, "day0/", b"")
    parts(folder, ".csv")
    assert len(files.list_files(f"s3://{BUCKET}/{folder}/*/*.csv")) == 3


@pytest.mark.parametrize(
    ("url", "kind", "word"),
    [
        (f"s3://{BUCKET}/none.csv", CatalogError, "no such file or folder"),
        (f"s3://{BUCKET}/none/*.csv", CatalogError, "no such folder"),
        ("s3://no-bucket/a.csv", CatalogError, "no such file or folder"),
        ("s3://", ConfigError, "--catalog s3://: names no bucket"),
        ("nope://x/a.csv", ConfigError, "--catalog nope://x/a.csv: "),
        ("https://shop/a.csv?signature=secret", ConfigError, "--catalog https://…: a URL with a password"),
        ("ftp://me:secret@shop/a.csv", ConfigError, "--catalog ftp://…: a URL with a password"),
    ],
)
def test_a_url_that_cannot_be_a_catalog_is_one_line_without_secrets(storage, url, kind, word):
    with pytest.raises(kind) as raised:
        ids(url)
    assert word in str(raised.value)
    assert "secret" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("status", "kind", "word"),
    [(404, CatalogError, "no such file"), (410, CatalogError, "no such file"), (403, StorageError, "looked up (403")],
)
def test_a_web_server_that_refuses_is_not_reported_as_a_missing_file(monkeypatch, status, kind, word):
    monkeypatch.setattr("ingest.runtime.remote_files._LONGEST_PAUSE_S", 0.01)
    server = Server()
    try:
        with pytest.raises(kind, match=re.escape(word)):
            files.list_files(server.serve("/a.csv", Answer(status=status)))
    finally:
        server.stop()


def test_a_web_server_that_is_down_is_reported_as_down(monkeypatch):
    monkeypatch.setattr("ingest.runtime.remote_files._LONGEST_PAUSE_S", 0.01)
    server = Server()
    server.stop()
    with pytest.raises(StorageError, match="cannot be looked up"):
        files.list_files(server.url("/a.csv"))
