"""The programs that the documentation shows, run as they stand there, and the files that it describes."""

from __future__ import annotations

import json
import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from support.shop import COMMAND, ROOT, run_in

from ingest.pipeline.report import CHANGES_COLUMNS, SKIPPED_COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

    from support.shop import Shop

    from e2e.conftest import Finished


@pytest.mark.parametrize("page", ["README.md", "docs/querying.md"])
def test_the_program_that_a_page_shows_runs_and_finds_what_it_says(page, shop: Shop):
    programs = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    elsewhere = {path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*/search.py")}
    [program] = [program for program in programs if program not in elsewhere]  # tests/integration runs those
    (shop.data / "models").mkdir()
    (shop.data / "models" / "sample-clip").symlink_to(shop.model)

    ended = run_in(shop.folder, [sys.executable, "-c", program])

    assert ended.code == 0, ended.err
    hits = [line.split(maxsplit=2) for line in ended.out.splitlines()]
    assert 1 <= len(hits) <= 5
    scores = [float(score) for score, _, _ in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(re.fullmatch(r"P\d{4}", product_id) for _, product_id, _ in hits)
    assert all(float(rest.rsplit(maxsplit=1)[1]) < 20 for _, _, rest in hits)


def test_the_page_on_files_names_each_file_key_and_column_and_no_other_key(finished: Finished) -> None:
    page = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    tables = page.split("`skipped.csv`:", 1)[1]
    named = {
        name for cell in re.findall(r"^\| (`.+?) \|", tables, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    folder, places = finished.shop.folder, finished.summary["places"]
    report = json.loads((folder / places["report"]).read_text(encoding="utf-8"))
    assert named == {*report, *SKIPPED_COLUMNS, *CHANGES_COLUMNS}
    assert set(report["pictures"]) <= set(re.findall(r"`(\w+)`", page))
    for path in [*(folder / "data" / "embeddings").glob("*.*"), *(folder / "data" / "indexes").iterdir()]:
        name = re.sub(r"^(.*)\.manifest\.json$", "….manifest.json", re.sub(r"_\d+", "_<dim>", path.name))
        assert name in page


def test_the_catalog_that_a_page_makes_of_a_folder_of_photographs_is_one(tmp_path: Path, model: Path) -> None:
    page = (ROOT / "docs" / "photographs.md").read_text(encoding="utf-8")
    catalog, settings = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)[:2]
    (tmp_path / "photographs").mkdir()
    for name, product in (("red_striped-mug.jpg", "P0263"), ("A white sock, cotton.jpg", "P0002")):
        shutil.copy2(ROOT / "data" / "images" / f"{product}.jpg", tmp_path / "photographs" / name)
    script = f"{catalog}\n{settings}".replace("/path/to/photographs", str(tmp_path / "photographs"))
    assert run_in(tmp_path, ["bash", "-euc", script]).code == 0

    ended = run_in(tmp_path / "my-shop", [COMMAND, "run", "--json", "--model", model])
    found = run_in(tmp_path / "my-shop", [COMMAND, "search", "red striped mug", "--json", "--model", model])

    assert (ended.json["products"], ended.json["embedded"]) == (2, 2), ended.err
    assert [hit["title"] for hit in found.json] == ["red striped mug", "A white sock, cotton"]
