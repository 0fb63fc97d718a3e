"""The exported pair: what other programs read, and the state after a kill between two renames."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from ingest.core.errors import ExportError, StorageError
from ingest.core.records import ImageFile, Product
from ingest.exports import npy_files
from ingest.exports.manifest import Manifest, manifest_path, read_manifest
from ingest.exports.npy_files import read, write
from ingest.exports.row_list import ExportRows
from ingest.runtime import atomic_files
from ingest.store.local import LocalStore

DIM = 8
SPACE = "0123456789abcdef"


def key(word: str) -> bytes:
    return hashlib.sha256(word.encode()).digest()


def vector(word: str) -> np.ndarray:
    row = np.random.default_rng(int.from_bytes(key(word)[:8])).standard_normal(DIM)
    return (row / np.linalg.norm(row)).astype(np.float32)


@pytest.fixture
def store(tmp_path) -> LocalStore:
    store = LocalStore(tmp_path / "store", DIM)
    words = ["mug", "chair", "lamp"]
    store.add([key(word) for word in words], np.stack([vector(word) for word in words]))
    return store


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    return tmp_path / "out" / "clip_embeddings.npy", tmp_path / "out" / "embedding_metadata.json"


def wanted(folder: Path, *products: tuple[str, str]) -> ExportRows:
    noted = ExportRows(folder)
    images = [ImageFile(Product(name, "", {}, 2), Path(), key(word)) for name, word in products]
    assert list(noted.note(images)) == images
    return noted


def written(pair: tuple[Path, Path], store: LocalStore, *products: tuple[str, str], space: str = SPACE) -> Manifest:
    with closing(wanted(store.folder, *products)) as noted:
        return write(*pair, noted, store, space)


def saved_as_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, rows=np.zeros(1))


def assert_pair(pair: tuple[Path, Path], *products: tuple[str, str]) -> None:
    rows = np.load(pair[0], allow_pickle=False)
    assert (rows.dtype, rows.shape) == (np.float32, (len(products), DIM))
    assert json.loads(pair[1].read_text(encoding="utf-8")) == [name for name, _ in products]
    for row, (_, word) in zip(rows, products, strict=True):
        np.testing.assert_array_equal(row, vector(word))


def test_rows_are_in_catalog_order_and_have_unit_length(pair, store):
    products = [("b", "chair"), ("a", "mug"), ('ü ☕ "q"', "lamp"), ("d", "mug")]
    manifest = written(pair, store, *products)
    assert_pair(pair, *products)
    assert (manifest.rows, manifest.dim, manifest.fingerprint) == (4, DIM, SPACE)
    np.testing.assert_allclose(np.linalg.norm(np.load(pair[0]), axis=1), 1, atol=1e-6)


def test_the_manifest_has_each_files_checksum(pair, store):
    manifest = written(pair, store, ("a", "mug"), ("b", "chair"))
    assert read_manifest(pair[0]) == manifest
    for path in pair:
        assert manifest.files[path.name].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert manifest.files[path.name].bytes == path.stat().st_size


def test_more_rows_than_a_block_are_written_in_order(pair, store, monkeypatch):
    monkeypatch.setattr(npy_files, "_BLOCK", 2)
    products = [(f"p{number}", ["mug", "chair", "lamp"][number % 3]) for number in range(7)]
    written(pair, store, *products)
    assert_pair(pair, *products)


def test_a_product_without_a_vector_has_no_row(pair, store):
    assert written(pair, store, ("x", "unknown"), ("a", "mug"), ("y", "unknown")).rows == 1
    assert_pair(pair, ("a", "mug"))


def test_a_vector_that_the_store_finds_damaged_has_no_row_and_the_header_counts_the_others(pair, store):
    (shard,) = {path.parent for path in store.folder.rglob("keys.npy")}
    rows = np.load(shard / "embeddings.npy")
    rows[1] *= 2
    np.save(shard / "embeddings.npy", rows)
    store = LocalStore(store.folder, DIM)
    assert store.holds([key("chair")]) == [True], "the store reads vectors only when they are taken"
    manifest = written(pair, store, ("a", "mug"), ("b", "chair"), ("c", "lamp"))
    assert manifest.rows == 2
    assert_pair(pair, ("a", "mug"), ("c", "lamp"))
    assert npy_files.faults(*pair, None) == []


def test_an_empty_catalog_is_an_array_without_rows(pair, store):
    assert written(pair, store).rows == 0
    assert_pair(pair)
    rows, names = read(*pair)
    assert (rows.shape, names) == ((0, DIM), [])


def test_files_that_are_up_to_date_are_not_touched(pair, store):
    written(pair, store, ("a", "mug"))
    before = [path.stat() for path in (*pair, manifest_path(pair[0]))]
    written(pair, store, ("a", "mug"))
    assert [path.stat() for path in (*pair, manifest_path(pair[0]))] == before


@pytest.mark.parametrize(
    "change",
    [
        lambda pair: pair[0].unlink(),
        lambda pair: pair[1].unlink(),
        lambda pair: manifest_path(pair[0]).unlink(),
        lambda pair: manifest_path(pair[0]).write_text("{"),
        lambda pair: manifest_path(pair[0]).write_text("[]"),
        lambda pair: manifest_path(pair[0]).write_text('{"files": {"a": 3}}'),
        lambda pair: pair[0].write_bytes(pair[0].read_bytes()[:-1]),
        lambda pair: pair[1].write_text("[]"),
    ],
)
def test_missing_and_damaged_files_are_written_again(pair, store, change):
    written(pair, store, ("a", "mug"), ("b", "chair"))
    change(pair)
    written(pair, store, ("a", "mug"), ("b", "chair"))
    assert_pair(pair, ("a", "mug"), ("b", "chair"))
    assert read_manifest(pair[0]) is not None


def test_another_catalog_image_or_model_is_written(pair, store):
    written(pair, store, ("a", "mug"), ("b", "chair"))
    for products in ([("b", "chair"), ("a", "mug")], [("b", "lamp"), ("a", "mug")], [("a", "mug")]):
        written(pair, store, *products)
        assert_pair(pair, *products)
    assert written(pair, store, ("a", "mug"), space="f" * 16).fingerprint == "f" * 16


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_pair_torn_by_a_kill_between_two_renames_is_written_again(pair, store, monkeypatch, renames):
    first, second = [("a", "mug"), ("b", "chair")], [("b", "chair"), ("a", "mug")]  # files of equal sizes
    written(pair, store, *first)
    done = 0
    rename = Path.replace

    class Killed(BaseException):
        pass

    def killed_after(path: Path, target: Path) -> Path:
        nonlocal done
        if done == renames:
            raise Killed
        done += 1
        return rename(path, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", killed_after)
        written(pair, store, *second)
    written(pair, store, *first)
    assert_pair(pair, *first)
    written(pair, store, *second)
    assert_pair(pair, *second)


def test_a_failing_disk_leaves_the_old_files(pair, store, monkeypatch):
    written(pair, store, ("a", "mug"))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="No space left on device"):
        patch.setattr(atomic_files.os, "fsync", full)
        written(pair, store, ("b", "chair"))
    assert_pair(pair, ("a", "mug"))
    assert sorted(path.name for path in pair[0].parent.iterdir() if path.suffix != ".json") == [pair[0].name]


def test_a_pair_is_read_as_it_was_written(pair, store):
    written(pair, store, ("a", "mug"), ("b", "chair"))
    rows, names = read(*pair)
    assert isinstance(rows, np.memmap)
    assert names == ["a", "b"]
    np.testing.assert_array_equal(rows[1], vector("chair"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda npy, ids: npy.unlink(), "cannot be read"),
        (lambda npy, ids: ids.unlink(), "cannot be read"),
        (lambda npy, ids: npy.write_bytes(b""), "cannot be read"),
        (lambda npy, ids: npy.write_bytes(b"PK\x03\x04 not a zip"), "cannot be read"),
        (lambda npy, ids: npy.write_bytes(npy.read_bytes()[:-1]), "cannot be read"),
        (lambda npy, ids: np.save(npy, np.array([{}], dtype=object), allow_pickle=True), "cannot be read"),
        (lambda npy, ids: saved_as_npz(npy), "cannot be read"),
        (lambda npy, ids: np.save(npy, np.zeros((2, 3))), "do not match"),
        (lambda npy, ids: np.save(npy, np.zeros(2, np.float32)), "do not match"),
        (lambda npy, ids: np.save(npy, np.zeros((3, 3), np.float32)), "do not match the 2 ids"),
        (lambda npy, ids: np.save(npy, np.float32(0)), "do not match"),
        (lambda npy, ids: ids.write_text("[1, 2]"), "not a JSON list"),
        (lambda npy, ids: ids.write_text("{}"), "not a JSON list"),
        (lambda npy, ids: ids.write_text("["), "cannot be read"),
        (lambda npy, ids: ids.write_bytes(b'["\xff"]'), "cannot be read"),
    ],
)
def test_a_pair_that_does_not_match_is_refused_in_one_line(pair, store, change, words):
    written(pair, store, ("a", "mug"), ("b", "chair"))
    change(*pair)
    with pytest.raises(ExportError) as caught:
        read(*pair)
    message = str(caught.value)
    assert words in message
    assert message.endswith("ingest export")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("gone", [0, 1])
def test_a_missing_file_is_named_once_with_the_reason_in_words(pair, store, gone):
    written(pair, store, ("a", "mug"))
    pair[gone].unlink()
    with pytest.raises(ExportError) as caught:
        read(*pair)
    assert (
        str(caught.value) == f"{pair[gone]}: cannot be read (No such file or directory); write it with: ingest export"
    )
