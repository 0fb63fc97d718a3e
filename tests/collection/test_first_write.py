"""Whether a catalog is about other products is judged by all of its ids, before the first row is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.small_shop import FIVE

if TYPE_CHECKING:
    from support.small_shop import SmallShop


def test_a_catalog_whose_first_part_has_only_new_products_is_read_on_to_the_known_ones(shop: SmallShop) -> None:
    new = {f"new-{number}": (number, f"New {number}") for number in range(9)}
    parts = shop.folder / "parts"
    parts.mkdir()
    for name, products in (("1.csv", new), ("2.csv", FIVE)):
        shop.stock(products)
        shop.settings.catalog.rename(parts / name)
    catalog = {"catalog": parts, "images_root": shop.folder}

    assert shop.plan(**catalog).unwritten == ""
    assert shop.run(**catalog).failure is None
    assert shop.rows().keys() == new.keys() | FIVE.keys()

    (parts / "2.csv").unlink()
    shop.stock({f"other-{number}": (number, "Other") for number in range(20)})
    shop.settings.catalog.rename(parts / "1.csv")
    assert "14 of the 14 that apps find are not in it, and 20 of its 20" in shop.plan(**catalog).unwritten
