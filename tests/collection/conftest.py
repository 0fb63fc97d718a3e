"""A small shop whose collection is there already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.small_shop import FIVE, SmallShop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    shop = SmallShop(tmp_path)
    shop.stock(FIVE)
    shop.run()
    return shop
