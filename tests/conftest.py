"""What tests of every floor share: tiny checkpoints, and no way to a model hub."""

from __future__ import annotations

import gc
import logging
import os
import resource
import sys
from typing import TYPE_CHECKING

import hypothesis
import pytest
from support.bucket import s3_server, storage  # noqa: F401  fixtures: a bucket for the tests of every folder
from support.checkpoints import write_clip, write_siglip
from support.groups import pytest_collection_modifyitems, pytest_itemcollected, pytest_xdist_make_scheduler  # noqa: F401  hooks
from support.hub_server import hub, offline  # noqa: F401  fixtures: a model hub for the tests of every folder
from support.service import service  # noqa: F401  a fixture: one service for the tests of every folder
from support.shared_server import collection_name, import_folder, milvus_uri, pytest_configure, pytest_unconfigure  # noqa: F401  fixtures and hooks: one Milvus server for them

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How fast examples are made and judged says how busy the machine is, and nothing of what is tested.
_BUSY = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("busy", _BUSY)
hypothesis.settings.register_profile("soak", _BUSY, max_examples=1000)
hypothesis.settings.load_profile("soak" if os.environ.get("INGEST_SOAK") else "busy")

MOST_MB = 1_200
_OBJECTS = 20_000

# Before huggingface_hub is imported, which reads it once: no test may reach the network.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage among what is imported, neither now nor at the end: that took each worker six seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(_OBJECTS)  # as in the program: with Python's 700, a tenth of all that the tests take
        gc.enable()


def pytest_collection_finish() -> None:
    """Fail if tests hold much before they run, as in the arguments of `parametrize`: each worker pays for that."""
    held_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
    assert held_mb < MOST_MB, (
        f"what the tests make while they are collected takes {held_mb:.0f} MB; make it in the tests"
    )


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Take back what a command run in this process did to the logger, lest `caplog` hear nothing afterwards."""
    logger = logging.getLogger("ingest")
    handlers, propagate = logger.handlers[:], logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a CLIP of random weights, dim 16; not to be written to."""
    return write_clip(tmp_path_factory.mktemp("models") / "tiny-clip")


@pytest.fixture(scope="session")
def tiny_siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a SigLIP of random weights, dim 32; not to be written to."""
    return write_siglip(tmp_path_factory.mktemp("models") / "tiny-siglip")
