"""How far each stage is: bars on a terminal, a line every few seconds in a log, nothing if quiet."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ingest.core import display
from ingest.core.records import Stage
from ingest.runtime.profiler import StageProfiler, busiest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

_LINE_EVERY_S = 5.0
_REDRAW_PER_S = 8
_BAR = 16  # columns, so that a line stays under 80


@dataclass(slots=True)
class StageCount:
    """The `items` that one stage has finished, and the `seconds` from the start of the run to the last of them."""

    items: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.items / self.seconds if self.seconds else 0.0


class Progress:
    """Counts what each stage finishes; `clock` measures how busy the stages are.

    `total` is the number of products, or an estimate, for bars and ETA; None if unknown.
    """

    def __init__(self, clock: StageProfiler | None = None) -> None:
        self.clock = clock or StageProfiler()
        self._counts: dict[Stage, StageCount] = {}
        self.total: int | None = None
        self._started = time.monotonic()

    def count(self, stage: Stage, records: Iterable[T], kind: type | tuple[type, ...]) -> Iterator[T]:
        """Yield the records, and count those of `kind` as finished by `stage`."""
        count = self._counts.setdefault(stage, StageCount())
        for record in records:
            if isinstance(record, kind):
                self._add(count, 1)
            yield record

    def add(self, stage: Stage, items: int) -> None:
        """Count `items` as finished by `stage`."""
        self._add(self._counts.setdefault(stage, StageCount()), items)

    def items(self, stage: Stage) -> int:
        """Return how many items `stage` has finished."""
        return self._counts[stage].items if stage in self._counts else 0

    def counts(self) -> list[tuple[Stage, StageCount]]:
        """Return the stages that have begun, in the pipeline's order."""
        return [(stage, self._counts[stage]) for stage in Stage if stage in self._counts]

    def by_stage(self) -> dict[str, dict[str, float]]:
        """Return each stage's items, seconds, items per second, and the share of the time in which it was busy."""
        shares = self.clock.shares()
        return {
            stage.value: {
                "items": count.items,
                "seconds": round(count.seconds, 3),
                "per_second": round(count.rate, 1),
                "busy": round(shares[stage].busy, 3) if stage in shares else 0.0,
            }
            for stage, count in self.counts()
        }

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def _add(self, count: StageCount, items: int) -> None:
        count.items += items
        count.seconds = time.monotonic() - self._started


def show(progress: Progress, quiet: bool = False) -> AbstractContextManager[None]:
    """Show `progress` on stderr while the block runs: bars on a terminal, else a line every few seconds."""
    if quiet:
        return nullcontext()
    return _bars(progress) if display.is_terminal(err=True) else _lines(progress)


@contextmanager
def _bars(progress: Progress) -> Iterator[None]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.description:<10}"),
        BarColumn(_BAR),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>9}"),
        TextColumn("{task.fields[busy]:<17}"),
        TimeRemainingColumn(compact=True),
        console=display.console(err=True),
        refresh_per_second=_REDRAW_PER_S,
        transient=True,
    )
    tasks: dict[Stage, Any] = {}

    def draw() -> None:
        shares = progress.clock.shares()
        bottleneck = busiest(shares)
        for stage, count in progress.counts():
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage.value, total=progress.total, rate="", busy="")
            total = max(progress.total or 0, count.items) or None
            busy = f"{_percent(shares[stage].busy)} busy" if stage in shares else ""
            marked = f"{busy}, bound" if stage == bottleneck else busy
            bars.update(tasks[stage], completed=count.items, total=total, rate=f"{count.rate:,.0f}/s", busy=marked)

    # On a terminal rich puts streams of its own in place of stdout and stderr, to write above the bars.
    with bars, display.guard(), _repeat(draw, 1 / _REDRAW_PER_S):
        yield


@contextmanager
def _lines(progress: Progress) -> Iterator[None]:
    def write_line() -> None:
        if not progress.counts():
            return
        done = ", ".join(f"{stage.value} {count.items:,}" for stage, count in progress.counts())
        of = f" of about {progress.total:,}" if progress.total else ""
        rate = progress.items(Stage.IMAGES) / progress.seconds
        speed = f"{rate:,.0f} products/s{_bottleneck(progress)}"
        display.echo(f"ingest: after {progress.seconds:.0f} s: {done}{of} ({speed})", err=True)

    with _repeat(write_line, _LINE_EVERY_S):
        yield


def _bottleneck(progress: Progress) -> str:
    shares = progress.clock.shares()
    part = busiest(shares)
    return f"; bound by {part}, {_percent(shares[part].busy)} busy" if part else ""


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


@contextmanager
def _repeat(action: Any, every: float) -> Iterator[None]:
    """Call `action` repeatedly, `every` seconds apart, on its own thread, until the block ends."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(every):
            action()

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
