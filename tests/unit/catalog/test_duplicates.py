"""Which ids a catalog has had, in little memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.catalog.duplicates import FirstLines


@given(st.lists(st.lists(st.text(max_size=2))))
def test_it_answers_as_a_dictionary_would(blocks):
    lines, model = FirstLines(), {}
    last = 0
    for ids in blocks:
        numbers = range(last + 1, last + 1 + len(ids))
        last += len(ids)
        expected = [model.setdefault(product_id, line) for product_id, line in zip(ids, numbers, strict=True)]
        assert lines.of(ids, numbers).tolist() == expected


@pytest.mark.parametrize("each", [1, 2, 30_000])
def test_however_often_it_grows_the_first_of_an_id_stays(each):
    lines = FirstLines()
    ids = [f"P{number}" for number in range(60_000 // each) for _ in range(each)]
    for start in range(0, len(ids), 1_000):
        found = lines.of(ids[start : start + 1_000], range(start, start + 1_000))
        assert found.tolist() == [number - number % each for number in range(start, start + 1_000)]


@given(st.lists(st.lists(st.text(max_size=1), max_size=5), min_size=1, max_size=6))
def test_over_several_files_it_names_the_file_and_the_line_there_of_the_first(files):
    lines, model = FirstLines(), {}
    last = 0
    for number, ids in enumerate(files):
        lines.begin(f"{number}.csv", last)
        last = len(ids)
        for line, product_id in enumerate(ids, 1):
            file, first = model.setdefault(product_id, (number, line))
            told = f"line {first}" + (f" of {file}.csv" if file != number else "")
            (found,) = lines.of([product_id], [lines.before + line]).tolist()
            assert lines.place(found) == told


def test_an_id_takes_16_bytes_however_many_there_are():
    count, block = 200_000, 1_000
    tracemalloc.start()
    lines = FirstLines()
    for start in range(0, count, block):
        numbers = range(start, start + block)
        assert lines.of([f"P{number:07d}" for number in numbers], numbers).tolist() == list(numbers)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    again = lines.of([f"P{number:07d}" for number in range(count)], [0] * count)
    assert again.tolist() == list(range(count))
    assert held / count <= 17
    assert peak / count <= 48, "the arrays that are merged come on top"
