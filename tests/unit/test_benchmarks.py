"""Every benchmark starts, so that a renamed import is noticed before someone needs a figure."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
PROGRAMS = [path for path in sorted(FOLDER.glob("*.py")) if "parse_args()" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_benchmark_imports_what_it_needs_and_answers_help(
    program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "argv", [str(program), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(program), run_name="__main__")
    assert ended.value.code == 0
    assert "--quick" in capsys.readouterr().out


def test_the_line_is_fed_from_files_and_from_a_server_to_the_end(tmp_path: Path) -> None:
    found = tmp_path / "feed.json"
    program = [sys.executable, str(FOLDER / "feed.py"), "--quick", "--http"]
    done = subprocess.run([*program, "--json", str(found)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ratios = json.loads(found.read_text(encoding="utf-8"))["ratios"]
    assert {"of_decode_ceiling", "vs_dataloader", "main_us_per_picture", "peak_mb", "http"} <= set(ratios)
    assert all(ratio > 0 for ratio in ratios.values())
