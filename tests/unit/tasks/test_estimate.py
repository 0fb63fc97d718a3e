"""The formulas of an estimate, compared with the size of FAISS indexes, and the table of docs/scaling.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.tasks import estimate
from ingest.tasks.estimate import TYPICAL, CatalogSize, display, figures, hnsw_bytes

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("dim", "m"), [(32, 16), (64, 8), (48, 32)])
def test_the_formula_gives_the_bytes_per_vector_of_a_faiss_index(dim, m):
    rows = 4000
    index = faiss.IndexHNSWFlat(dim, m, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 8
    index.add(np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32))
    assert len(faiss.serialize_index(index)) / rows == pytest.approx(hnsw_bytes(dim, m), rel=0.01)


def test_the_table_in_the_docs_is_up_to_date():
    assert estimate.table() in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


def test_a_million_products_cost_what_a_calculation_by_hand_gives():
    found = figures(replace(TYPICAL, products=1_000_000))
    assert found["vectors"].value == pytest.approx(2.048)
    assert found["hnsw"].value == pytest.approx((2048 + 128 + 64 / 15 + 12) / 1000)
    assert found["query_memory"].value == pytest.approx((found["hnsw"].value + 0.296) / 0.9)
    assert found["diskann_disk"].value == pytest.approx(4.096)
    assert found["download"].value == pytest.approx(240 / 3600)
    assert found["embed"].value == pytest.approx(1000 / 3600)


def test_hours_at_an_unknown_rate_are_left_out():
    found = figures(CatalogSize(10, 512, 16, 1000, 10, 0, 0, 0))
    assert not {"download", "decode", "embed"} & set(found)


def test_files_that_do_not_fit_this_machine_are_said_with_what_to_do_instead():
    found = figures(replace(TYPICAL, products=10_000_000))
    assert estimate.advice(found, 24e9) == ""
    assert "more than the 16 GB of this machine" in estimate.advice(found, 16e9)
    assert all(len(line) <= 90 for line in estimate.advice(found, 16e9).splitlines())


@given(st.integers(0, 10**11), st.integers(2, 4096), st.integers(2, 2048), st.floats(0, 1e8), st.floats(0, 1e6))
def test_every_figure_can_be_shown_and_grows_with_the_catalog(products, dim, m, picture, text):
    small = figures(CatalogSize(products, dim, m, picture, text, 1e9, 10, 10))
    large = figures(CatalogSize(2 * products, dim, m, picture, text, 1e9, 10, 10))
    for name, figure in small.items():
        assert display(figure)
        assert figure.formula
        assert large[name].value >= figure.value
