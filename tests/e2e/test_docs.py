"""The programs that the documentation shows, run as they stand there."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from support.shop import ROOT, run_in

if TYPE_CHECKING:
    from support.shop import Shop


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
