"""Progress for a function of the caller's, as bars of a notebook, or not at all."""

from __future__ import annotations

import re

from ingest.api.notebook_bars import draw, open_bars
from ingest.api.progress_events import ProgressEvent, show
from ingest.core.records import Stage
from ingest.pipeline.progress import Progress


def test_a_function_hears_of_each_stage_that_went_on_and_of_no_other():
    progress, heard = Progress(), []
    progress.total = 10
    with show(progress, heard.append) as tick:
        tick()
        progress.add(Stage.IMAGES, 3)
        progress.add(Stage.DECODE, 0)
        tick()
        tick()
        progress.add(Stage.IMAGES, 4)
        progress.add(Stage.MILVUS, 1)
        tick()
    assert [(event.stage, event.items, event.total) for event in heard] == [
        ("images", 3, 10), ("images", 7, 10), ("milvus", 1, 10)
    ]  # fmt: skip


def test_an_event_has_a_rate():
    assert ProgressEvent("images", 10, None, 2.0).per_second == 5
    assert ProgressEvent("images", 0, None, 0.0).per_second == 0


def test_nothing_is_shown_unasked(capsys):
    with show(Progress(), False) as tick:  # noqa: FBT003  what a caller passes
        tick()
    assert capsys.readouterr() == ("", "")


def test_bars_of_a_notebook_never_end_before_the_stage_does():
    progress = Progress()
    progress.total = 4
    progress.add(Stage.CATALOG, 5)
    progress.add(Stage.IMAGES, 1)
    assert re.findall(r'max="(\d+)" value="(\d+)"', draw(progress)) == [("5", "5"), ("4", "1")]
    assert "1 of 4" in draw(progress)
    assert draw(Progress()) == "<table></table>"
    assert open_bars(progress) is None, "this is no notebook"
