"""A shop whose first run is done, made once: tests that go on from there take a copy of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from support.shop import Shop, copied_sample_model, perturbed_model, sample_products

if TYPE_CHECKING:
    from pathlib import Path

PRODUCTS = 40


class Finished(NamedTuple):
    """A shop and what its first run said. Not to be written to: `shop` gives a copy."""

    shop: Shop
    summary: dict[str, Any]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied_sample_model(tmp_path_factory.mktemp("model") / "clip")


@pytest.fixture(scope="session")
def other_model(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return perturbed_model(model, tmp_path_factory.mktemp("other") / "clip")


@pytest.fixture(scope="session")
def finished(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    shop = Shop(tmp_path_factory.mktemp("finished") / "shop", model)
    shop.stock(sample_products(PRODUCTS))
    return Finished(shop, shop.run())


@pytest.fixture
def shop(finished: Finished, tmp_path: Path) -> Shop:
    return finished.shop.copied_to(tmp_path / "shop")


@pytest.fixture
def new_shop(model: Path, tmp_path: Path) -> Shop:
    """Make a shop in which nothing has run yet, with nothing on sale."""
    return Shop(tmp_path / "shop", model)
