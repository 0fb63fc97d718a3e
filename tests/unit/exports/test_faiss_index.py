"""The FAISS files: what a search finds, what other programs load, and when they are built again."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import faiss as library
import numpy as np
import pytest

import ingest
from ingest.core import contract_file
from ingest.core.errors import ExportError
from ingest.core.records import ImageFile, Product
from ingest.exports import faiss_index, npy_files
from ingest.exports.faiss_index import IndexFiles, build, search
from ingest.exports.manifest import ALTERED, Manifest, read_manifest, write_manifest
from ingest.exports.row_list import ExportRows
from ingest.store.local import LocalStore

DIM = 32
INDEX = contract_file.load(contract_file.default_path()).index
SPACE = "0123456789abcdef"


def clustered(count: int, seed: int = 0) -> np.ndarray:
    """Return unit vectors in clusters, as those of product images are."""
    centres = np.random.default_rng(99).standard_normal((40, DIM))
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(0, 40, count)] + 0.5 * rng.standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def exported(folder: Path, rows: np.ndarray, names: list[str]) -> tuple[Path, Path]:
    """Export a pair through a store, as a run does."""
    keys = [hashlib.sha256(row.tobytes()).digest() for row in rows]
    store = LocalStore(folder / "store", rows.shape[1])
    store.add(keys, rows)
    pair = folder / "embeddings" / "clip_embeddings.npy", folder / "embeddings" / "embedding_metadata.json"
    with closing(ExportRows(folder)) as wanted:
        for _ in wanted.note(ImageFile(Product(n, "", {}, 2), Path(), k) for n, k in zip(names, keys, strict=True)):
            pass
        npy_files.write(*pair, wanted, store, SPACE)
    return pair


@pytest.fixture
def pair(tmp_path) -> tuple[Path, Path]:
    return exported(tmp_path, clustered(50), [f"p{number}" for number in range(50)])


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "indexes"


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}


def test_it_finds_nearly_everything_that_an_exact_search_finds(tmp_path, folder):
    rows = clustered(2000)
    names = [f"p{number}" for number in range(2000)]
    build(*exported(tmp_path, rows, names), folder, INDEX)
    found = 0
    for query in clustered(50, seed=1):
        best = np.argsort(-(rows @ query))[:10]
        hits = search(folder, query, 10, INDEX.ef)
        found += len({f"p{row}" for row in best} & {name for name, _ in hits})
        scores = [score for _, score in hits]
        assert scores == sorted(scores, reverse=True)
        np.testing.assert_allclose(scores, [rows[names.index(name)] @ query for name, _ in hits], atol=1e-5)
    assert found / 500 >= 0.99


def test_a_product_finds_itself_first_with_a_cosine_of_one(pair, folder):
    build(*pair, folder, INDEX)
    rows, names = npy_files.read(*pair)
    for row, name in zip(rows, names, strict=True):
        first, score = search(folder, np.array(row), 1, INDEX.ef)[0]
        assert first == name
        assert score == pytest.approx(1, abs=1e-5)


def test_files_are_named_by_the_dim_and_a_manifest_has_their_checksums(pair, folder):
    manifest = build(*pair, folder, INDEX)
    files = IndexFiles.of(folder, DIM)
    assert sorted(path.name for path in folder.iterdir()) == [
        "hnsw_clip_32.faiss", "hnsw_clip_32.manifest.json", "hnsw_clip_32.pkl", "hnsw_clip_32_product_ids.json",
    ]  # fmt: skip
    assert read_manifest(files.index) == manifest
    for path in (files.index, files.metadata, files.product_ids):
        assert manifest.files[path.name].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(files.product_ids.read_text(encoding="utf-8")) == npy_files.read_ids(pair[1])


def test_another_program_loads_the_index_with_faiss_alone(pair, folder):
    build(*pair, folder, INDEX)
    index = library.read_index(str(folder / "hnsw_clip_32.faiss"))
    assert (index.ntotal, index.d, index.metric_type) == (50, DIM, library.METRIC_INNER_PRODUCT)
    assert index.hnsw.efConstruction == INDEX.ef_construction
    assert index.hnsw.efSearch == INDEX.ef


class Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        raise AssertionError(f"the file asks for {module}.{name}; it must hold plain types alone")


def test_the_metadata_is_a_dict_of_plain_types_that_needs_no_class_to_load(pair, folder):
    build(*pair, folder, INDEX)
    files = IndexFiles.of(folder, DIM)
    metadata = Plain(io.BytesIO(files.metadata.read_bytes())).load()
    assert {type(value) for value in metadata.values()} <= {str, int, bool}
    assert metadata["count"] == 50
    assert metadata["dim"] == DIM
    assert metadata["normalised"] is True
    assert metadata["space"] == SPACE
    assert metadata["sha256"] == hashlib.sha256(files.index.read_bytes()).hexdigest()


def test_nothing_of_ours_ever_loads_a_pickle():
    loads = re.compile(r"pickle\.loads?\b|Unpickler|allow_pickle=True|read_pickle|from pickle|joblib|dill")
    # Between the processes of one cluster Ray pickles all that goes to and fro anyway.
    ours = [path for path in Path(ingest.__file__).parent.rglob("*.py") if path.parent.name != "distributed"]
    assert Path(faiss_index.__file__) in ours
    assert loads.search("pickle.load(file)"), "the pattern finds what it is for"
    for path in ours:
        assert not loads.search(path.read_text(encoding="utf-8")), path


class Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_ids_other_than_those_that_were_written_are_refused_in_one_line(pair, folder):
    build(*pair, folder, INDEX)
    path = IndexFiles.of(folder, DIM).product_ids
    path.write_bytes(path.read_bytes().replace(b'"p10"', b'"p99"'))
    assert faiss_index.faults(folder, DIM, pair[0]) == [(path, ALTERED)]
    with pytest.raises(ExportError) as caught:
        search(folder, clustered(50)[0], 1, INDEX.ef)
    assert str(caught.value) == f"{path}: {ALTERED}; write it again with: ingest verify --repair"


def test_metadata_that_would_run_code_is_a_fault_and_is_never_unpickled(pair, folder, tmp_path):
    build(*pair, folder, INDEX)
    assert faiss_index.faults(folder, DIM, pair[0]) == []
    path = IndexFiles.of(folder, DIM).metadata
    path.write_bytes(pickle.dumps(Harmful(tmp_path / "ran"), protocol=4).ljust(path.stat().st_size, b"\0"))
    assert faiss_index.faults(folder, DIM, pair[0]) == [(path, ALTERED)]
    assert search(folder, clustered(50)[0], 1, INDEX.ef)[0][0] == "p0"
    assert not (tmp_path / "ran").exists()


def test_files_that_match_the_pair_are_left_alone(pair, folder):
    build(*pair, folder, INDEX)
    before = state(folder)
    build(*pair, folder, INDEX)
    assert state(folder) == before
    build(*pair, folder, replace(INDEX, ef=INDEX.ef + 1))
    assert state(folder) == before, "ef is for searching; it does not shape the index"


@pytest.mark.parametrize("change", [{"m": 8}, {"ef_construction": 50}])
def test_other_parameters_build_it_again(pair, folder, change):
    build(*pair, folder, INDEX)
    before = state(folder)
    build(*pair, folder, replace(INDEX, **change))
    assert state(folder)["hnsw_clip_32.faiss"] != before["hnsw_clip_32.faiss"]


@pytest.mark.parametrize("name", ["hnsw_clip_32.faiss", "hnsw_clip_32.pkl", "hnsw_clip_32_product_ids.json"])
def test_a_missing_or_truncated_file_is_built_again(pair, folder, name):
    build(*pair, folder, INDEX)
    for damage in (Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])):
        damage(folder / name)
        with pytest.raises(ExportError, match="with: ingest export"):
            search(folder, clustered(50)[0], 1, INDEX.ef)
        build(*pair, folder, INDEX)
        assert search(folder, clustered(50)[0], 1, INDEX.ef)[0][0] == "p0"


@pytest.mark.parametrize("renames", [1, 2, 3])
def test_files_torn_by_a_kill_between_two_renames_are_refused_and_built_again(tmp_path, folder, monkeypatch, renames):
    rows, names = clustered(20), [f"p{number}" for number in range(10, 30)]
    first = exported(tmp_path / "first", rows, names)
    second = exported(tmp_path / "second", rows[::-1].copy(), names[::-1])
    build(*first, folder, INDEX)
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
        build(*second, folder, INDEX)
    with pytest.raises(ExportError, match="does not match the files beside it"):
        search(folder, rows[0], 1, INDEX.ef)
    build(*first, folder, INDEX)
    assert search(folder, rows[0], 1, INDEX.ef)[0][0] == "p10"


def test_a_pair_written_by_another_program_is_used_and_its_changes_noticed(tmp_path, folder):
    npy, ids = tmp_path / "rows.npy", tmp_path / "ids.json"
    for seed in (0, 5):
        rows = clustered(10, seed)
        np.save(npy, rows)
        ids.write_text(json.dumps([f"p{number}" for number in range(10)]))
        assert build(npy, ids, folder, INDEX).fingerprint == ""
        assert search(folder, rows[3], 1, INDEX.ef)[0][0] == "p3"


def test_a_limit_above_the_number_of_rows_gives_all_rows(pair, folder):
    build(*pair, folder, INDEX)
    assert len(search(folder, clustered(1)[0], 1000, INDEX.ef)) == 50


def test_without_rows_there_is_no_index_and_an_older_one_is_removed(pair, tmp_path, folder):
    npy, ids = tmp_path / "rows.npy", tmp_path / "ids.json"
    np.save(npy, np.empty((0, DIM), np.float32))
    ids.write_text("[]")
    assert build(npy, ids, folder, INDEX).rows == 0
    assert not folder.exists()
    build(*pair, folder, INDEX)
    manifest = build(npy, ids, folder, INDEX)
    assert (manifest.rows, manifest.dim, manifest.files) == (0, DIM, {})
    assert list(folder.iterdir()) == []
    write_manifest(npy, Manifest(0, DIM, SPACE, "", {}))
    assert faiss_index.faults(folder, DIM, npy) == []
    with pytest.raises(ExportError, match="cannot be read"):
        search(folder, clustered(1)[0], 10, INDEX.ef)


@pytest.mark.parametrize("factor", [1.01, 0, -2, np.nan, np.inf, 1e30])
def test_a_row_not_of_unit_length_is_refused_by_name_and_the_old_files_stay(
    pair, tmp_path, folder, monkeypatch, factor
):
    monkeypatch.setattr(faiss_index, "_BLOCK", 16)
    build(*pair, folder, INDEX)
    before = state(folder)
    npy, ids = tmp_path / "rows.npy", tmp_path / "ids.json"
    rows = clustered(50)
    rows[[20, 40]] *= np.float32(factor)
    np.save(npy, rows)
    ids.write_text(json.dumps([f"p{number}" for number in range(50)]))
    with pytest.raises(ExportError, match=r"rows\.npy: row 20, product 'p20', has length .* and not 1") as caught:
        build(npy, ids, folder, INDEX)
    assert len(str(caught.value).splitlines()) == 1
    assert state(folder) == before


@pytest.mark.parametrize("size", [0, 1, 3])
def test_rows_are_added_in_blocks_as_if_at_once(pair, folder, monkeypatch, size):
    if size:
        monkeypatch.setattr(faiss_index, "_BLOCK", 7 * size)
    build(*pair, folder, INDEX)
    assert search(folder, clustered(50)[49], 1, INDEX.ef)[0][0] == "p49"


def test_missing_and_damaged_files_are_one_line(tmp_path, folder, pair):
    query = clustered(1)[0]
    with pytest.raises(ExportError, match="with: ingest export") as caught:
        search(folder, query, 1, INDEX.ef)
    assert len(str(caught.value).splitlines()) == 1
    build(*pair, folder, INDEX)
    index = folder / "hnsw_clip_32.faiss"
    index.write_bytes(b"x" * index.stat().st_size)
    with pytest.raises(ExportError, match="not a FAISS index") as caught:
        search(folder, query, 1, INDEX.ef)
    assert len(str(caught.value).splitlines()) == 1
