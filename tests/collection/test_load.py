"""How rows go in where the server has no import jobs: --load on Milvus Lite."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from support.small_shop import FIVE, SmallShop

from ingest.core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def test_lite_has_no_import_jobs_so_that_rows_are_upserted_and_one_line_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = SmallShop(tmp_path, load="bulk", bulk_folder=tmp_path / "import")
    shop.stock(FIVE)
    with caplog.at_level(logging.WARNING, "ingest"):
        assert shop.run().summary.upserted == 5
    assert [record.message for record in caplog.records if record.name.startswith("ingest")] == [
        "--load bulk: Milvus Lite has no import jobs; the rows are upserted"
    ]
    assert len(shop.rows()) == 5
    assert not (tmp_path / "import").exists()


def test_an_import_without_a_folder_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path, load="bulk")
    shop.stock(FIVE)
    with pytest.raises(ConfigError, match="--load bulk: name a folder that the server sees too, with --bulk-folder"):
        shop.run()
    assert not shop.settings.data.exists()


def test_an_import_on_a_cluster_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path, load="bulk", bulk_folder=tmp_path / "import", engine="ray")
    shop.stock(FIVE)
    with pytest.raises(ConfigError, match="--load bulk: on a cluster the workers upsert; pass --engine threads"):
        shop.run()
    assert not shop.settings.data.exists()
