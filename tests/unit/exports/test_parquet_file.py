"""The Parquet export: DuckDB and pandas read the same bits, and it never shows a state between two."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from ingest.core import contract_file
from ingest.core.contract import PROPERTY, Contract, Space
from ingest.core.errors import StorageError
from ingest.core.records import ImageFile, Product, Reason, Skipped, Stage
from ingest.exports import npy_files, parquet_file
from ingest.exports.field_list import ExportFields
from ingest.exports.manifest import ChecksumWriter, read_manifest
from ingest.exports.parquet_file import ParquetExport
from ingest.exports.row_list import ExportRows
from ingest.store.local import LocalStore

DIM = 8
SPACE = Space("a model", "sha256:1", DIM, {})
SCHEMA = """
version = 1
alias = "products"
[product_id]
max_length = 64
[embedding]
M = 16
efConstruction = 200
ef = 64
[[fields]]
name = "title"
type = "VARCHAR"
max_length = 100
default = ""
[[fields]]
name = "price"
type = "DOUBLE"
default = nan
[[fields]]
name = "weight"
type = "FLOAT"
default = nan
[[fields]]
name = "stock"
type = "INT64"
default = 0
[[fields]]
name = "new"
type = "BOOL"
default = false
"""
DOUBLES = st.floats(allow_infinity=False)
FLOATS = st.floats(width=32, allow_infinity=False)
TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
ROWS = st.lists(st.tuples(TEXTS, DOUBLES, FLOATS, st.integers(-(2**63), 2**63 - 1), st.booleans()), max_size=20)


@pytest.fixture(scope="module")
def contract(tmp_path_factory) -> Contract:
    path = tmp_path_factory.mktemp("schema") / "products.toml"
    path.write_text(SCHEMA, encoding="utf-8")
    return contract_file.load(path)


class Exported:
    """What a run would write: products, of which those whose image is "none" have no vector."""

    def __init__(self, folder: Path, contract: Contract, *rows: tuple[str, dict]) -> None:
        self.folder = folder
        self.products = [Product(name, f"{name}.jpg", metadata, at) for at, (name, metadata) in enumerate(rows, 2)]
        self.keys = [hashlib.sha256(product.product_id.encode()).digest() for product in self.products]
        vectors = np.random.default_rng(len(rows)).standard_normal((len(rows), DIM)).astype(np.float32)
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self.store = LocalStore(folder / "store", DIM)
        if rows:
            self.store.add(self.keys, self.vectors)
        self.rows = ExportRows(folder)
        self.fields = ExportFields(folder, contract.fields)
        self.export = ParquetExport(folder / "out" / "products.parquet", contract, SPACE, self.fields)

    def note(self, *more: Skipped) -> Exported:
        list(self.fields.note([*more, *self.products]))
        list(self.rows.note([ImageFile(one, Path(), key) for one, key in zip(self.products, self.keys, strict=True)]))
        return self

    def write(self, **options) -> None:
        out = self.folder / "out"
        npy_files.write(
            out / "clip.npy", out / "ids.json", self.rows, self.store, SPACE.fingerprint, parquet=self.export, **options
        )

    def close(self) -> None:
        self.rows.close()
        self.fields.close()


PLAIN = {"title": "a mug", "price": 12.5, "weight": 0.5, "stock": 3, "new": True}


def test_duckdb_and_pandas_read_the_same_bits(tmp_path_factory, contract):
    @given(rows=ROWS)
    def check(rows):
        names = ("title", "price", "weight", "stock", "new")
        given_rows = [(f"ü{at}", dict(zip(names, row, strict=True))) for at, row in enumerate(rows)]
        with closing(Exported(tmp_path_factory.mktemp("given"), contract, *given_rows)) as exported:
            exported.note().write()
            path = exported.export.path
            frame = pd.read_parquet(path)
            # DuckDB knows lists of a fixed size as arrays, and a file's lists as lists.
            found = duckdb.sql(f"SELECT * REPLACE (embedding::FLOAT[{DIM}] AS embedding) FROM '{path}'").fetchnumpy()
            assert list(frame.columns) == list(found) == ["product_id", *names, "embedding"]
            for table in (frame, found):
                assert list(table["product_id"]) == [name for name, _ in given_rows]
                assert list(table["title"]) == [row["title"] for _, row in given_rows]
                assert list(table["stock"]) == [row["stock"] for _, row in given_rows]
                assert list(table["new"]) == [row["new"] for _, row in given_rows]
                for name, kind in (("price", np.float64), ("weight", np.float32)):
                    expected = np.array([row[name] for _, row in given_rows], kind)
                    values = np.ma.filled(np.ma.asarray(table[name], kind), np.nan)
                    np.testing.assert_array_equal(values, expected)
                if rows:
                    vectors = np.stack([np.asarray(row, np.float32) for row in table["embedding"]])
                    assert vectors.tobytes() == exported.vectors.tobytes()

    check()


def test_the_columns_have_the_contracts_types_and_the_metadata_is_the_contract(tmp_path, contract):
    with closing(Exported(tmp_path, contract, ("a", PLAIN))) as exported:
        exported.note().write()
        schema = parquet.read_schema(exported.export.path)
        assert [f"{field.name} {field.type}" for field in schema] == [
            "product_id string", "title string", "price double", "weight float", "stock int64", "new bool",
            f"embedding fixed_size_list<element: float>[{DIM}]",
        ]  # fmt: skip
        described = json.loads(schema.metadata[PROPERTY.encode()])
        assert (described["fingerprint"], described["dim"]) == (SPACE.fingerprint, DIM)
        [(value,)] = duckdb.sql(
            f"SELECT decode(value) FROM parquet_kv_metadata('{exported.export.path}') WHERE key = '{PROPERTY}'"
        ).fetchall()
        assert json.loads(value) == described


def test_a_missing_number_is_null_and_a_row_that_is_no_product_has_no_values(tmp_path, contract):
    rows = (("a", PLAIN | {"price": math.nan}), ("b", PLAIN))
    broken = Skipped("c", Stage.CATALOG, Reason.BAD_METADATA, "price is 'x'", 2)
    with closing(Exported(tmp_path, contract, *rows)) as exported:
        exported.note(broken, Skipped("a", Stage.CATALOG, Reason.DUPLICATE_ID, "", 9)).write()
        found = duckdb.sql(f"SELECT product_id, price, title FROM '{exported.export.path}'").fetchall()
        assert found == [("a", None, "a mug"), ("b", 12.5, "a mug")]
        assert [name for name, _ in exported.fields.rows()] == ["c", "a", "b"]


def test_rows_come_in_groups_so_that_memory_is_bounded(tmp_path, contract, monkeypatch):
    monkeypatch.setattr(parquet_file, "_GROUP_BYTES", 4 * DIM * 3)
    monkeypatch.setattr(npy_files, "_BLOCK", 2)
    with closing(Exported(tmp_path, contract, *((f"p{at}", PLAIN | {"stock": at}) for at in range(9)))) as exported:
        exported.note().write()
        metadata = parquet.read_metadata(exported.export.path)
        assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == [4, 4, 1]
        assert duckdb.sql(f"SELECT stock FROM '{exported.export.path}'").fetchall() == [(at,) for at in range(9)]


def test_only_another_price_writes_the_parquet_file_alone(tmp_path, contract):
    with closing(Exported(tmp_path, contract, ("a", PLAIN), ("b", PLAIN))) as exported:
        exported.note().write()
    pair = [tmp_path / "out" / "clip.npy", tmp_path / "out" / "ids.json"]
    before = [path.stat().st_ino for path in pair]
    for prices, is_same in (((12.5, 12.5), True), ((12.5, 13.0), False)):
        rows = (("a", PLAIN | {"price": prices[0]}), ("b", PLAIN | {"price": prices[1]}))
        with closing(Exported(tmp_path, contract, *rows)) as exported:
            file = exported.export.path.stat().st_ino
            exported.note().write(check=lambda: pytest.fail("the pair is not replaced"))
            assert (exported.export.path.stat().st_ino == file) == is_same
            assert parquet_file.faults(exported.export.path, None, "", "") == []
            found = duckdb.sql(f"SELECT price FROM '{exported.export.path}'").fetchall()
            assert [price for (price,) in found] == list(prices)
    assert [path.stat().st_ino for path in pair] == before


def test_a_full_disk_leaves_all_files_as_they_were(tmp_path, contract, monkeypatch):
    with closing(Exported(tmp_path, contract, ("a", PLAIN))) as exported:
        exported.note().write()
    files = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    written = ChecksumWriter.write

    def full(self, data):
        if self._path.suffix == ".parquet":
            raise StorageError(f"{self._path}: cannot be written (No space left on device); make room or set --data")
        return written(self, data)

    monkeypatch.setattr(ChecksumWriter, "write", full)
    with (
        closing(Exported(tmp_path, contract, ("a", PLAIN), ("b", PLAIN))) as exported,
        pytest.raises(StorageError) as error,
    ):
        exported.note().write()
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files


def test_without_rows_there_is_a_file_with_the_columns(tmp_path, contract):
    with closing(Exported(tmp_path, contract)) as exported:
        exported.note().write()
        assert parquet.read_metadata(exported.export.path).num_rows == 0
        manifest = read_manifest(exported.export.path)
        assert manifest is not None
        assert manifest.rows == 0


def test_a_file_of_another_catalog_or_with_other_bytes_is_a_fault(tmp_path, contract):
    with closing(Exported(tmp_path, contract, ("a", PLAIN))) as exported:
        exported.note().write()
        path, content = exported.export.path, npy_files.content_digest(exported.rows, exported.store)
        assert parquet_file.faults(path, exported.export, content, SPACE.fingerprint) == []
        [(_, fault)] = parquet_file.faults(path, exported.export, "other", SPACE.fingerprint)
        assert fault == "was written from another catalog or model"
        path.write_bytes(path.read_bytes().replace(b"a mug", b"a jug"))
        assert len(parquet_file.faults(path, None, "", "")) == 1
