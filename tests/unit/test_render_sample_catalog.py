"""The drawn sample catalog: reproducible, complete, grouped so that searches have several right answers."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from render_sample_catalog import main  # noqa: E402
from sample_catalog.catalog import (  # noqa: E402
    BRANDS,
    COLUMNS,
    GROUP_SIZE,
    LINES,
    all_combinations,
    group_sizes,
    product_rows,
)
from sample_catalog.shapes import KINDS  # noqa: E402
from sample_catalog.surfaces import COLOURS, FINISHES, PATTERNS, draw  # noqa: E402


def render(folder: Path, count: int = 12, seed: int = 3, workers: int = 1) -> list[dict[str, str]]:
    options = ["--count", str(count), "--seed", str(seed), "--size", "32", "--workers", str(workers)]
    result = CliRunner().invoke(main, [*options, "--output", str(folder)])
    assert result.exit_code == 0, result.output
    with (folder / "products.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_bytes_whatever_the_workers(tmp_path: Path) -> None:
    render(tmp_path / "one")
    render(tmp_path / "two", workers=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_other_seed_other_pictures(tmp_path: Path) -> None:
    render(tmp_path / "one")
    render(tmp_path / "two", seed=4)
    assert files_of(tmp_path / "one") != files_of(tmp_path / "two")


def test_rows_and_pictures_belong_together(tmp_path: Path) -> None:
    rows = render(tmp_path)
    assert list(rows[0]) == list(COLUMNS)
    assert [row["product_id"] for row in rows] == [f"P{number:04d}" for number in range(1, 13)]
    for row in rows:
        assert row["image"] == f"images/{row['product_id']}.jpg"
        with Image.open(tmp_path / row["image"]) as picture:
            assert picture.size == (32, 32)
            assert picture.mode == "RGB"
        assert row["colour"] in row["title"].lower()
        assert row["brand"] in BRANDS
        assert 4.9 <= float(row["price"]) <= 180
    assert len(list((tmp_path / "images").iterdir())) == len(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_in_every_pattern(kind: str) -> None:
    drawn = {
        pattern: draw(kind, "blue", pattern, LINES[kind].materials[0], 64, np.random.default_rng(5))
        for pattern in PATTERNS
    }
    assert all(picture.size == (64, 64) for picture in drawn.values())
    assert len({picture.tobytes() for picture in drawn.values()}) == len(PATTERNS)


@pytest.mark.parametrize("colour", COLOURS)
def test_the_colour_is_in_the_picture(colour: str) -> None:
    picture = draw("cushion", colour, "plain", "cotton", 64, np.random.default_rng(5))
    around_the_middle = np.asarray(picture, dtype=float)[20:30, 20:30].mean(axis=(0, 1))
    nearest = min(COLOURS, key=lambda name: float(np.abs(around_the_middle - COLOURS[name][0]).sum()))
    assert nearest == colour


def test_enough_to_choose_from() -> None:
    assert len(KINDS) >= 16
    assert len(COLOURS) == 12
    assert len(PATTERNS) == 4
    assert set(LINES) == set(KINDS)
    assert all(material in FINISHES for line in LINES.values() for material in line.materials)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 300, 2304, 2305, 5000])
def test_groups_add_up_and_none_is_small(count: int) -> None:
    sizes = group_sizes(count, len(all_combinations()))
    assert sum(sizes) == count
    assert len(sizes) <= len(all_combinations())
    assert min(sizes) >= min(count, GROUP_SIZE)


def test_the_committed_sample_has_what_the_guide_shows() -> None:
    products = product_rows(300, 7)
    members = Counter(product.combination for product in products)
    assert members["mug", "red", "striped"] >= 4
    assert members[products[16].combination] >= 3
    assert {kind for kind, _, _ in members} == set(KINDS)
    with (ROOT / "data" / "products.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [product.row() for product in products]


def test_numbers_grow_beyond_four_digits() -> None:
    products = product_rows(12_000, 1)
    assert products[0].product_id == "P00001"
    assert products[-1].product_id == "P12000"
    assert len({product.product_id for product in products}) == 12_000
    assert len({product.combination for product in products}) == len(all_combinations())


def test_a_title_names_a_pattern_but_not_plainness() -> None:
    titles = {product.combination: product.title for product in product_rows(300, 7)}
    assert titles["mug", "red", "striped"].startswith("Red striped ")
    assert "plain" not in titles["backpack", "blue", "plain"]
