"""The quick start's own commands, word for word, from the root of a checkout."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from typing import TYPE_CHECKING

import faiss
import numpy as np
import pytest
from support.shop import COMMAND, ROOT, Ended, run_in

if TYPE_CHECKING:
    from pathlib import Path

PRODUCTS = 300
NEEDED = ["data/products.csv", "data/images", "data/models", "ingest.toml", "generate_image_embeddings.py",
          "scripts/build_faiss_index.py"]  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy what the commands read, so that what they write stays out of this checkout."""
    root = tmp_path_factory.mktemp("checkout")
    for name in NEEDED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, root / name)
    return root


def typed(checkout: Path, line: str) -> Ended:
    """Run a line as it is typed; `python` is the one that runs the tests."""
    first, *words = line.split()
    return run_in(checkout, [{"python": sys.executable, "ingest": COMMAND}[first], *words])


@pytest.fixture(scope="module")
def sample(checkout: Path) -> Ended:
    return typed(
        checkout,
        "python generate_image_embeddings.py --sample 100 --download-missing --batch-size 8 "
        "--output data/embeddings/clip_embeddings_sample.npy --meta data/embeddings/embedding_metadata_sample.json",
    )


@pytest.fixture(scope="module")
def everything(checkout: Path, sample: Ended) -> Ended:
    return typed(
        checkout,
        "python generate_image_embeddings.py --sample 0 --download-missing --batch-size 16 "
        "--output data/embeddings/clip_embeddings.npy --meta data/embeddings/embedding_metadata.json",
    )


@pytest.fixture(scope="module")
def index(checkout: Path, everything: Ended) -> Ended:
    return typed(checkout, "python scripts/build_faiss_index.py")


def check_pair(npy: Path, ids: Path, products: int) -> None:
    vectors, names = np.load(npy), json.loads(ids.read_text(encoding="utf-8"))
    assert vectors.dtype == np.float32
    assert vectors.shape[0] == len(names) == products
    assert names == [f"P{number:04d}" for number in range(1, products + 1)]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_help_names_the_script_and_not_a_command_that_was_not_typed(checkout: Path) -> None:
    assert typed(checkout, "python generate_image_embeddings.py --help").out.startswith(
        "Usage: generate_image_embeddings.py [OPTIONS]\n"
    )


def test_a_sample_gives_the_first_hundred(checkout: Path, sample: Ended) -> None:
    folder = checkout / "data" / "embeddings"

    assert (sample.code, sample.said) == (0, [])
    assert "100 products: 100 embedded" in sample.out
    check_pair(folder / "clip_embeddings_sample.npy", folder / "embedding_metadata_sample.json", 100)


def test_everything_gives_all_and_embeds_the_rest_alone(checkout: Path, everything: Ended) -> None:
    folder = checkout / "data" / "embeddings"

    assert (everything.code, everything.said) == (0, [])
    assert f"{PRODUCTS} products: {PRODUCTS - 100} embedded" in everything.out
    check_pair(folder / "clip_embeddings.npy", folder / "embedding_metadata.json", PRODUCTS)


def test_the_index_holds_every_vector(checkout: Path, index: Ended) -> None:
    vectors = np.load(checkout / "data" / "embeddings" / "clip_embeddings.npy")
    folder, stem = checkout / "data" / "indexes", f"hnsw_clip_{vectors.shape[1]}"

    assert (index.code, index.said) == (0, [])
    graph = faiss.read_index(str(folder / f"{stem}.faiss"))
    assert (graph.ntotal, graph.metric_type) == (PRODUCTS, faiss.METRIC_INNER_PRODUCT)
    _, nearest = graph.search(vectors, 1)
    assert (nearest[:, 0] == np.arange(PRODUCTS)).mean() > 0.99
    names = json.loads((folder / f"{stem}_product_ids.json").read_text(encoding="utf-8"))
    assert len(names) == PRODUCTS
    metadata = pickle.loads((folder / f"{stem}.pkl").read_bytes())
    assert (type(metadata), metadata["count"], metadata["dim"]) == (dict, PRODUCTS, vectors.shape[1])


def test_what_the_quick_start_embedded_fills_the_collection_and_answers(checkout: Path, index: Ended) -> None:
    run = typed(checkout, "ingest run --json")
    assert run.code == 0
    assert (run.json["embedded"], run.json["upserted"]) == (0, PRODUCTS)

    found = run_in(checkout, [COMMAND, "search", "red striped mug", "--json"])
    assert found.code == 0
    first = found.json[0]["title"].lower()
    assert all(word in first for word in ("red", "striped", "mug")), first


def test_an_index_without_vectors_says_what_to_do(tmp_path: Path) -> None:
    ended = run_in(tmp_path, [sys.executable, ROOT / "scripts" / "build_faiss_index.py"])

    assert (ended.code, ended.out) == (3, "")
    assert len(ended.said) == 1
    assert "ingest export" in ended.said[0]
