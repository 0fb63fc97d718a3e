"""The examples of docs/python.md, run one after the other as they stand there, in a folder like a clone's."""

from __future__ import annotations

import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest
from support.shop import ROOT, run_in, sample_products, write_csv

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def clone(model: Path, tmp_path: Path) -> Path:
    """Make a folder with the sample's model and some of its products, among them those that the page names."""
    products = [
        row for row in sample_products(300) if row["product_id"] < "P0040" or "P0250" < row["product_id"] < "P0270"
    ]
    (tmp_path / "data" / "images").mkdir(parents=True)
    for product in products:
        shutil.copy2(ROOT / "data" / product["image"], tmp_path / "data" / product["image"])
    write_csv(tmp_path / "data" / "products.csv", products)
    (tmp_path / "data" / "models").mkdir()
    (tmp_path / "data" / "models" / "sample-clip").symlink_to(model)
    return tmp_path


def test_the_examples_run_and_find_what_the_page_shows(clone):
    ended = run_in(clone, [sys.executable, "-c", "\n".join(PROGRAMS)], COLUMNS="160")

    assert (ended.code, ended.err) == (0, ""), ended.err
    assert ended.out.startswith("RunSummary(")
    found = [line.split() for line in ended.out.splitlines()]
    shown = [line.split() for line in re.findall(r"^    (?:0\.\d{3}|score) .*", PAGE, re.MULTILINE)]
    begin = found.index(shown[0])
    assert found[begin : begin + len(shown)] == shown
    assert "max_prune is 2; give a number from 0 to 1 3" in ended.out


def test_the_page_names_every_public_name_and_every_program_is_python():
    import ingest

    errors = {name for name in ingest.__all__ if name.endswith("Error")}
    kinds = {name for name, kind in ((name, getattr(ingest, name)) for name in errors) if kind.exit_code != 3}
    assert [name for name in set(ingest.__all__) - errors | kinds if name not in PAGE] == []
    for program in PROGRAMS:
        compile(program, "docs/python.md", "exec")
