"""Real JPEGs and a real server for the images stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image
from skimage import data
from support.http_server import Server
from support.image_files import saved

from ingest.images.cache.cache import ImageCache
from ingest.images.http.addresses import AddressPolicy
from ingest.images.http.download_policy import DownloadPolicy
from ingest.images.http.downloader import Downloader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    return Image.fromarray(data.astronaut()).resize((96, 64))


@pytest.fixture(scope="session")
def jpeg(photo: Image.Image) -> bytes:
    return saved(photo, "JPEG")


@pytest.fixture(scope="session")
def other_jpeg() -> bytes:
    return saved(Image.fromarray(data.coffee()).resize((96, 64)), "JPEG")


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
    with Downloader(
        DownloadPolicy(connect_s=2, read_s=2, addresses=AddressPolicy(allow_private=True)), waits.append
    ) as opened:
        yield opened


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ImageCache]:
    with ImageCache(tmp_path / "cache") as opened:
        yield opened
