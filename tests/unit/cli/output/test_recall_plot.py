"""The picture of an evaluation: a panel for filters if there are any, labels apart, a legend for each line."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from ingest.cli.output import recall_plot
from ingest.core.errors import ConfigError
from ingest.search.evaluate import EfMeasurement, Evaluation

if TYPE_CHECKING:
    from pathlib import Path

RECALLS = {16: 0.88, 32: 0.945, 64: 0.97, 128: 0.99, 256: 0.996, 512: 0.999}


def evaluation(*shares: float, efs: tuple[int, ...] = tuple(RECALLS)) -> Evaluation:
    found = Evaluation(10, 20_000, 500, 0.99, smallest_ef=256, judged_by="collection")
    for number, ef in enumerate(efs):
        found.rows.append(EfMeasurement("faiss", ef, RECALLS[ef], 0.05 * 1.7**number, 1, 1, 1000))
        for share in (1.0, *shares):
            found.rows.append(EfMeasurement("collection", ef, RECALLS[ef], 1.9 + 0.1 * number, 3, 4, 400, share))
    return found


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that draws and returns matplotlib's figure."""
    figures: list[Any] = []

    def draw(found: Evaluation) -> Any:
        class Kept(recall_plot.check(tmp_path / "a.png")):  # type: ignore[misc]
            def savefig(self, *args: Any, **kwargs: Any) -> None:
                figures.append(self)
                super().savefig(*args, **kwargs)

        monkeypatch.setattr(recall_plot, "check", lambda _path: Kept)
        recall_plot.draw(found, tmp_path / "a.png")
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
        return figures[-1]

    return draw


def test_filters_have_a_panel_of_their_own_with_a_named_line_for_each_share(drawn):
    figure = drawn(evaluation(0.5, 0.1, 0.01))

    assert [axes.get_title() for axes in figure.axes] == [
        "Recall over ef", "Recall against latency (labels: ef)", "Recall with filters, over ef",
    ]  # fmt: skip
    named = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    assert [name for name in named if "match" in name] == [
        "the collection, 50 % match", "the collection, 10 % match", "the collection, 1 % match",
    ]  # fmt: skip
    assert {"target: 0.99", "smallest ef that reaches it: 256"} <= set(named)
    lines = [line for line in figure.axes[2].lines if "match" in line.get_label()]
    assert len({line.get_color() for line in lines}) == 3


def test_without_filters_there_is_no_empty_panel(drawn):
    assert len(drawn(evaluation()).axes) == 2


@pytest.mark.parametrize("efs", [(16,), (16, 32, 64, 128, 256, 512)])
def test_no_two_labels_of_one_curve_overlap(drawn, efs):
    figure = drawn(evaluation(0.5, efs=efs))
    labels = [text for text in figure.axes[1].texts if text.get_text()]

    assert labels
    boxes = [(text.get_color(), text.get_window_extent()) for text in labels]
    for (colour, one), (other_colour, other) in combinations(boxes, 2):
        assert colour != other_colour or not one.overlaps(other)


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"its name must end in \.png or \.svg"):
        recall_plot.check(tmp_path / "curves.pdf")
