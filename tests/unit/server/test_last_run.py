"""The latest finished run is returned, whatever else is in the folder."""

from __future__ import annotations

import json
import shutil

from support.small_shop import SmallShop

from ingest.server import last_run


def test_the_skipped_products_of_the_latest_run_are_returned(tmp_path) -> None:
    shop = SmallShop(tmp_path)
    shop.stock({"a": (1, "one"), "x": (None, "broken"), "y": (None, "broken")})
    shop.run()
    folder = shop.settings.data / "runs"
    (folder / "20990101T000000Z").mkdir()  # still running
    (folder / "20990102T000000Z").write_text("no folder", encoding="utf-8")
    for number, outcome in enumerate(("planned", "verified", "differs"), 3):  # older versions wrote these too
        shutil.copytree(next(folder.glob("20[!9]*")), folder / f"2099010{number}T000000Z")
        report = {"started": "2099", "outcome": outcome, "reasons": {}}
        (folder / f"2099010{number}T000000Z" / "report.json").write_text(json.dumps(report), encoding="utf-8")

    found = last_run.latest(folder)

    assert found is not None
    assert found.reasons == {"not an image": 2}
    assert [(row["product_id"], row["stage"]) for row in found.skipped] == [("x", "decode"), ("y", "decode")]


def test_without_a_run_there_is_nothing(tmp_path) -> None:
    assert last_run.latest(tmp_path / "nowhere") is None
    assert last_run.latest(tmp_path) is None
