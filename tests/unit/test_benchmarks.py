"""Every benchmark starts, so that a renamed import is noticed before someone needs a figure."""

from __future__ import annotations

import importlib.util
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


@pytest.mark.timeout(900)  # half a minute of CPU, on a machine where other tests run
def test_every_cell_of_the_gpu_table_is_measured_also_without_a_gpu(tmp_path: Path) -> None:
    found = tmp_path / "gpu.json"
    program = [sys.executable, str(FOLDER / "gpu.py"), "--quick", "--json", str(found)]
    done = subprocess.run(program, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = json.loads(found.read_text(encoding="utf-8"))
    peers = {"sentence_transformers"} if importlib.util.find_spec("sentence_transformers") else set()
    of_the_model, of_images = (
        {"forward", "encoder"},
        {"decode", "line", "line_device", "line_threads", "dataloader", "hand_loop"} | peers,
    )
    expected = {(what, model, side) for model in ("ViT-B/32", "ViT-L/14") for side in (800, 2000)
                for what in of_images | (of_the_model if side == 800 else set())}  # fmt: skip
    assert {(row["what"], row["model"], row["side"]) for row in content["rows"]} == expected, done.stderr
    assert all(row["pictures_per_s"] > 0 for row in content["rows"])
    assert set(content["ratios"]) == set(content["goals"])
    missing = [name for name, value in content["ratios"].items() if not isinstance(value, float)]
    assert missing == ([] if peers else ["vs_sentence_transformers_b32"])
    assert done.stdout.startswith(("device: ", "no CUDA device"))


def test_a_ratio_of_the_gpu_table_is_the_median_of_its_complete_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import gpu_figures

    def row(what: str, turn: int, rate: float, batch: int = 0) -> dict[str, str | float]:
        return {"what": what, "model": "ViT-L/14", "side": 800, "round": turn, "batch": batch, "pictures_per_s": rate}

    first = [row("line", 0, 90), row("forward", 0, 50, 32), row("forward", 0, 100, 512), row("decode", 0, 120)]
    second = [row("line", 1, 80), row("forward", 1, 200, 512), row("decode", 1, 100)]
    cut_off = [row("line", 2, 10), row("forward", 2, 100, 512)]
    found = gpu_figures.ratios([*first, *second, *cut_off])
    assert found["of_ceiling_l14"] == 0.85
    assert found["vs_dataloader_l14"] == "not measured"
