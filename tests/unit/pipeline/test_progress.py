"""Progress is counted by stage, and shown on terminals, in logs, or not at all."""

from __future__ import annotations

import os
import sys
import time

import pytest

from ingest.core.records import Stage
from ingest.pipeline import progress as module
from ingest.pipeline.progress import Progress, StageCount, show


def test_records_are_passed_on_and_those_of_a_kind_are_counted():
    progress = Progress()
    assert list(progress.count(Stage.IMAGES, [1, "a", 2.0, "b"], str)) == [1, "a", 2.0, "b"]
    assert progress.items(Stage.IMAGES) == 2
    assert list(progress.count(Stage.CATALOG, [1, "a", 2.0], (int, float))) == [1, "a", 2.0]
    assert progress.items(Stage.CATALOG) == 2


def test_stages_are_listed_in_order_once_they_have_begun():
    progress = Progress()
    progress.add(Stage.MILVUS, 5)
    progress.add(Stage.CATALOG, 2)
    progress.add(Stage.CATALOG, 1)
    assert [(stage, count.items) for stage, count in progress.counts()] == [(Stage.CATALOG, 3), (Stage.MILVUS, 5)]
    assert progress.items(Stage.DECODE) == 0


def test_a_rate_covers_the_time_to_the_last_item():
    assert StageCount().rate == 0
    assert StageCount(10, 4.0).rate == 2.5
    progress = Progress()
    progress.add(Stage.IMAGES, 1)
    before = progress.counts()[0][1].seconds
    time.sleep(0.02)
    assert progress.counts()[0][1].seconds == before
    assert progress.seconds >= before + 0.02


def test_a_log_gets_a_line_every_few_seconds(capsys, monkeypatch):
    monkeypatch.setattr(module, "_LINE_EVERY_S", 0.03)
    progress = Progress()
    with show(progress):
        time.sleep(0.1)
        assert capsys.readouterr().err == "", "nothing has begun"
        progress.total = 1200
        progress.add(Stage.CATALOG, 1000)
        progress.add(Stage.IMAGES, 900)
        with progress.clock.working(Stage.IMAGES):
            time.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert lines[0].startswith("ingest: ")
    assert lines[0].endswith(" % busy)")
    for words in ("catalog 1,000, images 900", "of about 1,200", " products/s; bound by images, "):
        assert words in lines[0]
    time.sleep(0.1)
    assert capsys.readouterr().err == "", "nothing after the end"


def test_quiet_prints_nothing(capsys, monkeypatch):
    monkeypatch.setattr(module, "_LINE_EVERY_S", 0.01)
    progress = Progress()
    with show(progress, quiet=True):
        progress.add(Stage.CATALOG, 1)
        time.sleep(0.05)
    assert capsys.readouterr() == ("", "")


def test_an_error_in_the_block_is_raised(monkeypatch):
    monkeypatch.setattr(module, "_LINE_EVERY_S", 0.01)
    with pytest.raises(RuntimeError, match="mine"), show(Progress()):
        raise RuntimeError("mine")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_a_terminal_gets_a_bar_for_each_stage(monkeypatch):
    import pty

    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        progress = Progress()
        with show(progress):
            progress.add(Stage.CATALOG, 10)
            with progress.clock.working(Stage.CATALOG):
                time.sleep(0.2)
            progress.total = 5  # an estimate that was too low
            progress.add(Stage.IMAGES, 3)
            time.sleep(0.3)
        terminal.flush()
    drawn = os.read(ours, 65536).decode()
    os.close(ours)
    assert "catalog" in drawn
    assert "images" in drawn
    assert "10/10" in drawn
    assert " % busy, bound" in drawn


def test_each_stage_reports_its_items_and_how_busy_it_was():
    progress = Progress()
    progress.add(Stage.STORE, 5)
    with progress.clock.working(Stage.CATALOG):
        progress.add(Stage.CATALOG, 5)
        time.sleep(0.01)
    stages = progress.by_stage()
    assert list(stages) == ["catalog", "store"]
    assert 0 < stages["catalog"]["busy"] <= 1
    assert (stages["store"]["items"], stages["store"]["busy"]) == (5, 0.0)
