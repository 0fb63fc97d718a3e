"""What is done on macOS about the two OpenMP runtimes of torch and faiss, and that nothing is done elsewhere."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from ingest.runtime import openmp


class Faiss(SimpleNamespace):
    """Notes on how many threads it was told to compute."""

    threads = 4

    def omp_set_num_threads(self, threads: int) -> None:
        self.threads = threads


@pytest.fixture
def faiss(monkeypatch: pytest.MonkeyPatch) -> Faiss:
    there = Faiss()
    monkeypatch.setitem(sys.modules, "faiss", there)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.delenv("KMP_DUPLICATE_LIB_OK", raising=False)
    return there


@pytest.mark.parametrize(("system", "threads", "told"), [("darwin", 1, "TRUE"), ("linux", 4, None)])
def test_beside_torch_faiss_computes_on_one_thread_on_macos_alone(faiss, monkeypatch, system, threads, told):
    monkeypatch.setattr(sys, "platform", system)
    openmp.before_lite()
    assert faiss.threads == 4, "it has the process to itself"

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    openmp.share()
    assert (faiss.threads, os.environ.pop("KMP_DUPLICATE_LIB_OK", None)) == (threads, told)


def test_faiss_that_comes_after_torch_is_told_at_once(faiss, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    assert openmp.import_faiss() is faiss
    assert faiss.threads == 1
    assert os.environ.pop("KMP_DUPLICATE_LIB_OK") == "TRUE"


def test_what_the_user_has_set_stays(faiss, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("KMP_DUPLICATE_LIB_OK", "FALSE")
    openmp.let_both_in()
    assert os.environ["KMP_DUPLICATE_LIB_OK"] == "FALSE"
