"""Real JPEGs and a real server for the images stage."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from skimage import data

from ingest.images.addresses import Border
from ingest.images.cache import Cache
from ingest.images.download import Downloader, Policy

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.insert(0, str(Path(__file__).parents[2]))

from http_server import Server


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    return Image.fromarray(data.astronaut()).resize((96, 64))


@pytest.fixture(scope="session")
def jpeg(photo: Image.Image) -> bytes:
    return saved(photo, "JPEG")


@pytest.fixture(scope="session")
def other_jpeg() -> bytes:
    return saved(Image.fromarray(data.coffee()).resize((96, 64)), "JPEG")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def waits() -> list[float]:
    """Collect what the downloader would have slept between tries."""
    return []


@pytest.fixture
def downloader(waits: list[float]) -> Iterator[Downloader]:
    with Downloader(Policy(connect_s=2, read_s=2, border=Border(allow_private=True)), waits.append) as opened:
        yield opened


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    with Cache(tmp_path / "cache") as opened:
        yield opened


def drop(cache: Cache, name: str, content: bytes) -> None:
    """Put a file into the folder as a user does between two runs."""
    (cache.folder / name).write_bytes(content)
    cache._has_strays = True  # what opening would find
