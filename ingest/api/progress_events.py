"""Progress of a call from Python: bars, events for a function of the caller's, or nothing."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ingest.api import notebook_bars
from ingest.pipeline import progress as pipeline_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.pipeline.progress import Progress


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """How far a stage is: `items` of `total` products, None if that is unknown, in `seconds` since the start.

    `stage` is catalog, images, decode, embedding, store or milvus. `total` may be an estimate, and less than `items`.
    """

    stage: str
    items: int
    total: int | None
    seconds: float

    @property
    def per_second(self) -> float:
        """Items per second."""
        return self.items / self.seconds if self.seconds else 0.0


ShowProgress: TypeAlias = "bool | Callable[[ProgressEvent], object]"
"""True for bars on stderr or in a notebook; a function is called with each event, in the thread of the call."""


@contextmanager
def show(progress: Progress, wanted: ShowProgress) -> Iterator[Callable[[], None]]:
    """Show progress while the block runs; yields what the block calls now and then, and at the end."""
    if callable(wanted):
        yield _Events(progress, wanted)
    elif wanted and (bars := notebook_bars.open_bars(progress)) is not None:
        yield bars
    else:
        with pipeline_progress.show(progress, quiet=not wanted):
            yield lambda: None


class _Events:
    """Calls a function with an event for each stage that went on since the last time."""

    def __init__(self, progress: Progress, function: Callable[[ProgressEvent], object]) -> None:
        self._progress = progress
        self._function = function
        self._told: dict[str, int] = {}

    def __call__(self) -> None:
        for stage, count in self._progress.counts():
            if count.items != self._told.get(stage.value, 0):
                self._told[stage.value] = count.items
                self._function(ProgressEvent(stage.value, count.items, self._progress.total, count.seconds))
