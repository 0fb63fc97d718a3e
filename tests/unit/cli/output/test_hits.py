"""Hits as they are shown: what ingest says of one, and a catalog's columns beside it, whatever they are called."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.cli.output import hits
from ingest.core.settings import Settings
from ingest.search import contact_sheet, hit_fields
from ingest.search.backend import Hit

if TYPE_CHECKING:
    from collections.abc import Sequence

TAKEN = {
    "score": 4.5,
    "rank": "first",
    "query": "mine",
    "product_id": "other",
    "title": "Mug",
    "id": 7,
    "distance": "10 km",
}
KEPT = {"title": "Mug", "id": 7, "distance": "10 km"}
HIT = Hit("P1", 0.25, TAKEN)


def shown(capsys: pytest.CaptureFixture[str], found: Sequence[Hit], *, several: bool = False, **how: Any) -> str:
    output = hits.HitsOutput(**{"as_json": False, "as_csv": False, "html": None, "pictures": None, **how})
    settings = Settings(catalog=Path("products.csv"), model="m")
    hits.show([hits.SearchResult("red mug", found)], settings, output, several=several)
    return capsys.readouterr().out


def test_json_says_the_score_of_the_search_and_the_catalogs_beside_it(capsys):
    (row,) = json.loads(shown(capsys, [HIT], as_json=True))
    assert (row["product_id"], row["score"]) == ("P1", 0.25)
    assert {name: row[name] for name in KEPT} == KEPT
    taken = {name: row[f"metadata.{name}"] for name in TAKEN if name not in KEPT}
    assert taken == {"score": 4.5, "rank": "first", "query": "mine", "product_id": "other"}


@pytest.mark.parametrize("several", [False, True])
def test_csv_says_rank_and_query_of_the_search(capsys, several):
    (row,) = csv.DictReader(io.StringIO(shown(capsys, [HIT], several=several, as_csv=True)))
    assert (row["rank"], row["product_id"], row["score"]) == ("1", "P1", "0.25")
    assert (row["metadata.rank"], row["metadata.score"], row["metadata.query"]) == ("first", "4.5", "mine")
    assert row.get("query") == ("red mug" if several else None)


def test_a_table_has_each_heading_once(capsys):
    heading, row = shown(capsys, [HIT]).splitlines()[:2]
    assert len(set(heading.split())) == len(heading.split())
    assert row.split()[:2] == ["0.250", "P1"]


def test_a_contact_sheet_has_each_fact_once():
    html = contact_sheet.page([contact_sheet.Section("q", [HIT], [b""])])
    assert html.count("<dt>score</dt>") == html.count("<dt>product_id</dt>") == html.count("<dt>id</dt>") == 1
    assert '<dt>score</dt><dd class="score">0.250</dd>' in html
    assert '<dt>metadata.score</dt><dd class="metadata.score">4.5</dd>' in html


def test_columns_of_other_names_are_shown_under_their_own(capsys):
    plain = {"title": "Mug", "price": 3.5, "Stock (pcs)": "10", "metadata": "x", "scores": "y"}
    (row,) = json.loads(shown(capsys, [Hit("P1", 0.25, plain)], as_json=True))
    assert row == {"product_id": "P1", "score": 0.25, **plain}


@settings(deadline=None)
@given(st.sets(st.one_of(st.from_regex(r"(metadata\.){0,3}(score|rank|x)", fullmatch=True), st.text(max_size=9))))
def test_names_never_collide(columns):
    names = hit_fields.beside_own(dict.fromkeys(columns, 1))
    assert len(names) == len(columns)
    assert not set(hit_fields.OWN) & set(names)


def test_markup_in_cells_and_names_is_shown_as_it_is(capsys):
    metadata = {"title": "a\\[/red] b", "[/x]": ":smile: [bold]", "more \x1b[31m": "mug\u202e\rpwn"}
    table = shown(capsys, [Hit("[/P1]", 0.25, metadata)], several=True)
    for text in ("a\\[/red] b", "[/x]", ":smile: [bold]", "more \\x1b[31m", "mug\\u202e\\rpwn", "[/P1]"):
        assert text in table
    assert all(line.isprintable() for line in table.splitlines())


def test_a_cell_that_a_spreadsheet_would_compute_has_an_apostrophe_in_csv_and_numbers_have_none(capsys):
    hit = Hit("=1+1", -0.25, {"title": "@SUM(1)", "price": -5, "=more": "-3.5", "size": "-cmd"})
    (row,) = csv.DictReader(io.StringIO(shown(capsys, [hit], as_csv=True)))
    assert row == {"rank": "1", "product_id": "'=1+1", "score": "-0.25", "title": "'@SUM(1)", "price": "-5",
                   "'=more": "-3.5", "size": "'-cmd"}  # fmt: skip


def test_a_score_that_rounds_to_zero_has_no_sign(capsys):
    near = Hit("P1", -0.0000001, {})
    assert shown(capsys, [near]).splitlines()[1].split()[0] == "0.000"
    assert json.loads(shown(capsys, [near], as_json=True))[0]["score"] == 0
    assert '"score": 0.0' in shown(capsys, [near], as_json=True)


def test_a_narrow_terminal_keeps_score_and_id_and_names_what_it_has_no_room_for(capsys, monkeypatch):
    metadata = {
        "title": "Red striped enamel mug with a handle",
        "category": "mugs",
        "price": 6.9,
        "brand": "Alderbrook",
    }
    found = [Hit(f"P{number:04}", 0.5221, metadata) for number in range(3)]
    wide, left_out = hits._table(found, None, None, 100)
    assert ([column.header for column in wide.columns], left_out) == (
        ["score", "product_id", "title", "category", "price", "brand"], [],
    )  # fmt: skip
    narrow, left_out = hits._table(found, None, None, 40)
    assert [(column.header, column.width) for column in narrow.columns] == [
        ("score", 5), ("product_id", 10), ("title", 11), ("category", 8),
    ]  # fmt: skip
    assert left_out == ["price", "brand"]
