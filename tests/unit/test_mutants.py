"""The faults of `make mutants`: each changes one line, in a way that a person might."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "scripts"))

from mutants.modules import TESTS  # noqa: E402
from mutants.one_line_faults import faults  # noqa: E402


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x = a < b", {"x = (a <= b)"}),
        ("x = a and b", {"x = (a or b)"}),
        ("x = 5", {"x = 6", "x = 4", "x = 500"}),
        ("x = f(a, k=1)", {"x = f(k=1)", "x = f(a)", "x = f(a, k=2)", "x = f(a, k=0)", "x = f(a, k=100)"}),
        ("x = a if b else c", {"x = a if (not (b)) else c"}),
        ("f(a)", {"pass"}),
        ("raise ValueError('n < 5')", {"pass"}),
        ("self.x = y", {"pass"}),
        ("x = 'ü' in y", {"x = ('ü' not in y)"}),
        ("log.warning('x', 5)", set()),
        ("x: Literal[5]", set()),
    ],
)
def test_every_kind_of_fault_changes_one_line(line: str, expected: set[str]) -> None:
    assert {fault.after for fault in faults(f"import os\n{line}\n")} == expected


def test_answers_of_functions_are_changed() -> None:
    source = "def f():\n    return a == b\n\ndef g():\n    return True\n\ndef h():\n    return a\n"
    found = {(fault.line, fault.after) for fault in faults(source) if fault.kind == "return"}
    assert found == {(2, "return not a == b"), (5, "return False"), (8, "return None")}


@pytest.mark.parametrize("module", TESTS)
def test_each_module_has_tests_and_faults_that_compile(module: str) -> None:
    source = (ROOT / "ingest" / module).read_text(encoding="utf-8")
    found = faults(source)
    assert len(found) >= 5
    for fault in found[::20]:
        compile(fault.source, module, "exec")
        changed = [
            pair for pair in zip(source.splitlines(), fault.source.splitlines(), strict=True) if len(set(pair)) > 1
        ]
        assert [tuple(map(str.strip, pair)) for pair in changed] == [(fault.before, fault.after)]
    assert all((ROOT / path.partition("::")[0]).exists() for path in TESTS[module])
