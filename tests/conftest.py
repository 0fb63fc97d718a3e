"""What tests of every floor share: tiny checkpoints, and no way to a model hub."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest
from bucket import s3_server, storage  # noqa: F401  fixtures: a bucket for the tests of every folder
from checkpoints import write_clip, write_siglip
from service import service  # noqa: F401  a fixture: one service for the tests of every folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Before huggingface_hub is imported, which reads it once: no test may reach the network.
os.environ["HF_HUB_OFFLINE"] = "1"


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
