"""Query files: a query in each row, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.core.errors import QueryError
from ingest.search import query_file
from ingest.search.query import Query

DEFAULTS = Query(limit=5, expression="price < 20", text_weight=0.4)


def read(folder: Path, name: str, content: str) -> list[query_file.NamedQuery]:
    (folder / name).write_text(content, encoding="utf-8")
    return query_file.read_queries(folder / name, DEFAULTS, lambda url: Path("/fetched", url.rpartition("/")[2]))


def test_a_row_says_what_is_asked_and_the_rest_is_as_on_the_command_line(tmp_path):
    found = read(tmp_path, "q.csv", "name,text,image,product_id,text_weight,filter,limit\n"
                 "mugs,red mug,,,,,\n,,a.jpg,P1,2,price > 3,7\n")  # fmt: skip

    assert found == [
        query_file.NamedQuery("mugs", Query("red mug", limit=5, expression="price < 20", text_weight=0.4)),
        query_file.NamedQuery("a.jpg + P1", Query("", tmp_path / "a.jpg", "P1", 2.0, expression="price > 3", limit=7)),
    ]


def test_json_lines_and_tabs_do_as_well(tmp_path):
    lines = '{"text": "red mug", "limit": 2}\n\n{"image": "https://x.example/pics/a.jpg"}\n'
    first, second = read(tmp_path, "q.jsonl", lines)
    assert (first.query.text, first.query.limit) == ("red mug", 2)
    assert second.query.image == Path("/fetched/a.jpg")
    assert read(tmp_path, "q.tsv", "text\timage\nred, mug\t\n")[0].query.text == "red, mug"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("q.csv", "text,wieght\nmug,3\n", "line 2: 'wieght' is not a column"),
        ("q.csv", "text,limit\nmug,many\n", "line 2: limit is 'many'"),
        ("q.csv", "text,limit\nmug,0\n", "line 2: limit is 0"),
        ("q.csv", "text,image\nmug,\n,\n", "line 3: the query is empty"),
        ("q.csv", "text\nmug,pot\n", "line 2: more cells"),
        ("q.csv", "text\n", "no queries"),
        ("q.csv", "", "no queries"),
        ("q.jsonl", '{"text": "mug"}\n{"text":\n', "line 2: not JSON"),
        ("q.jsonl", "[3]\n", "line 1: not a JSON object"),
        ("q.xlsx", "", "unknown ending"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_its_line(tmp_path, name, content, words):
    with pytest.raises(QueryError, match=words) as caught:
        read(tmp_path, name, content)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(QueryError, match=r"q\.csv: cannot be read"):
        query_file.read_queries(tmp_path / "q.csv", DEFAULTS, Path)
    (tmp_path / "latin.csv").write_bytes(b"text\ncaf\xe9\n")
    with pytest.raises(QueryError, match="cannot be read"):
        query_file.read_queries(tmp_path / "latin.csv", DEFAULTS, Path)
