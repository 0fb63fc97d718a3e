"""Pictures that a shop does not want, and what is told of those it has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from PIL import Image
from support.shop import sample_products

if TYPE_CHECKING:
    from support.shop import Shop


def test_tiny_and_blank_pictures_are_counted_and_skipped_where_told(new_shop: Shop) -> None:
    new_shop.stock(sample_products(6))
    Image.new("RGB", (300, 300), "white").save(new_shop.images / "P0002.jpg")
    with Image.open(new_shop.images / "P0003.jpg") as image:
        image.resize((300, 20)).save(new_shop.images / "P0003.jpg")

    everything = new_shop.run("--no-exports")
    assert (everything["upserted"], everything["skipped"]) == (6, 0)
    report = json.loads((new_shop.folder / everything["places"]["report"]).read_text(encoding="utf-8"))
    assert {key: report["pictures"][key] for key in ("looked_at", "tiny", "blank")} == {
        "looked_at": 6,
        "tiny": 1,
        "blank": 1,
    }

    # Their vectors are stored already: what was seen of them counts all the same.
    choosy = new_shop.run("--no-exports", "--min-side", "32", "--skip-blank")
    assert [(row["product_id"], row["stage"], row["reason"]) for row in new_shop.skipped(choosy)] == [
        ("P0002", "images", "blank"),
        ("P0003", "images", "too small"),
    ]

    status = new_shop.ingest("status", "--json").json
    assert (status["quality"]["tiny"], status["quality"]["blank"]) == (1, 1)
    assert [(state["name"], state["pictures"]) for state in status["states"]] == [("local", 6)]
