"""The tree of errors, as drawn and as built."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core import errors
from ingest.core.errors import PRECEDENCE, IngestError, foremost

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, IngestError)]
DRAWN = re.compile(r"^    ([│ ]*)(?:[├└]── )?(\w+Error)\s+(\d+)?", re.MULTILINE)


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """Return each class of the docstring's tree with its parent and the exit code beside it."""
    tree: dict[str, tuple[str | None, int | None]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := DRAWN.match(line):
            bars, name, code = found.groups()
            depth = len(bars) // 4 + ("── " in line)
            path = [*path[:depth], name]
            tree[name] = (path[-2] if depth else None, int(code) if code else None)
    return tree


def test_the_tree_in_the_docstring_names_every_class_under_its_parent():
    built = {error.__name__: error.__base__.__name__ for error in CLASSES}
    built["IngestError"] = None
    assert {name: parent for name, (parent, _) in drawn().items()} == built


def test_the_tree_in_the_docstring_gives_the_exit_codes():
    for name, (parent, code) in drawn().items():
        expected = getattr(errors, parent).exit_code if code is None else code
        assert getattr(errors, name).exit_code == expected


def test_exit_codes_differ_but_among_the_kinds_of_bad_input():
    codes = [error.exit_code for error in CLASSES if "exit_code" in vars(error)]
    assert len(codes) == len(set(codes))
    assert all(issubclass(error, errors.InputError) for error in CLASSES if "exit_code" not in vars(error))
    # 0 is success and 2 is Click's own, for usage.
    assert not {0, 2} & set(codes)


def test_every_exit_code_has_a_meaning_for_the_documentation():
    for error in CLASSES:
        assert ("meaning" in vars(error)) == ("exit_code" in vars(error))


@pytest.mark.parametrize("error", CLASSES)
def test_errors_pickle_with_their_message(error):
    copy = pickle.loads(pickle.dumps(error("products.csv line 2: broken")))
    assert type(copy) is error
    assert str(copy) == "products.csv line 2: broken"


def test_the_page_for_operators_has_the_order_in_which_exit_codes_win():
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
    table = page.split("### Which exit code\n", 1)[1].split("\n## ", 1)[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) ", table, re.MULTILINE)] == [
        error.exit_code for error in PRECEDENCE
    ]


@given(st.lists(st.sampled_from(PRECEDENCE), unique=True))
def test_of_errors_that_hold_together_the_first_in_that_order_is_the_one(kinds):
    found = foremost(kind("x") for kind in kinds)
    assert type(found) is min(kinds, key=PRECEDENCE.index) if kinds else found is None


def test_a_kind_of_bad_input_has_the_place_of_bad_input():
    refused, many, live = errors.PruneRefusedError("a"), errors.TooManySkippedError("b"), errors.NotLiveError("c")
    assert foremost([many, refused]) is refused
    assert foremost([many, refused, live]) is live
