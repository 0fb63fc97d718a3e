"""Which ids a catalog has had, in little memory."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from ingest.catalog.seen import FirstLines


@given(st.lists(st.text(max_size=2)))
def test_it_answers_as_a_dictionary_would(ids):
    lines, model = FirstLines(), {}
    for line, product_id in enumerate(ids, 1):
        assert lines.of(product_id, line) == model.setdefault(product_id, line)


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
            assert lines.place(lines.of(product_id, lines.before + line)) == told


def test_an_id_takes_at_most_24_bytes_however_many_there_are():
    count = 200_000
    tracemalloc.start()
    lines = FirstLines()
    for number in range(count):
        assert lines.of(f"P{number:07d}", number) == number
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [lines.of(f"P{number:07d}", 0) for number in range(count)] == list(range(count))
    assert held / count <= 24
    assert peak / count <= 40, "the table before comes on top while it grows"
