"""Products that fail today are exported with their last good image, once, unless another row has a vector."""

from __future__ import annotations

from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from ingest.core.records import ImageFile, Product, Reason, Skipped, Stage
from ingest.exports.row_list import ExportRows
from ingest.pipeline.export_content import ExportContent, ExportPaths
from ingest.store.local import LocalStore
from ingest.sync.inventory import Inventory

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.pipeline.pipeline import Pipeline

KEYS = [bytes([number]) * 32 for number in (1, 2, 3)]
LAST, TODAY, UNEMBEDDED = KEYS


def record(image: bytes | None) -> ImageFile | Skipped:
    """Return P1 with this image, or without one."""
    product = Product("P1", "1.png", {}, 2)
    if image is None:
        return product.skipped(Stage.IMAGES, Reason.NOT_FOUND, "")
    return ImageFile(product, cast("Path", None), image)


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        ([None], LAST),
        ([UNEMBEDDED], LAST),
        ([TODAY], TODAY),
        ([None, TODAY], TODAY),
        ([TODAY, None], TODAY),
        ([None, None], LAST),
        ([None, UNEMBEDDED], LAST),
        ([UNEMBEDDED, None], LAST),
    ],
)
def test_a_product_of_two_rows_is_carried_once_and_only_if_it_has_no_vector_today(
    tmp_path: Path, images: list[bytes | None], wanted: bytes
) -> None:
    store, collection = LocalStore(tmp_path / "store", 2), Inventory()
    store.add([LAST, TODAY], np.eye(2, dtype=np.float32))
    collection.add(["P1"], ["0" * 32], [LAST.hex()])
    with closing(ExportRows(tmp_path)) as noted:
        assert len(list(noted.note(map(record, images)))) == len(images)
        pipeline = cast("Pipeline", SimpleNamespace(wanted=noted, store=store))

        rows = ExportContent(pipeline, ExportPaths(tmp_path / "a.npy", tmp_path / "a.json"), collection)

        held = [(product_id, image) for product_id, image in rows.pairs() if image != UNEMBEDDED]
        assert held == [("P1", wanted)]
        assert len(rows) == (wanted is LAST)
        assert rows.missing(1) == 0
        assert (rows.content == noted.content) is (wanted is TODAY)
