"""Runs a task for a caller from Python: on a thread of its own, while the caller's thread waits.

So nothing that is raised into the caller's thread can end the work halfway: not Ctrl-C, which a notebook turns into
KeyboardInterrupt, nor the timeout of a scheduler. The work is asked to stop, finishes what is in flight, and only then
is the exception raised. The thread is also free of the event loop that a notebook runs in the caller's.
"""

from __future__ import annotations

import contextvars
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Generic, TypeVar

from ingest.api.keyword_wording import in_python
from ingest.api.progress_events import show
from ingest.core import escape
from ingest.core.errors import BusyError, IngestError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ingest.api.progress_events import ShowProgress
    from ingest.pipeline.progress import Progress

T = TypeVar("T")

_TICK_S = 0.2
"""How often progress is shown; the end of the work ends the wait at once."""


def call(
    task: Callable[[Progress, threading.Event], T],
    progress: ShowProgress = False,
    stop: threading.Event | None = None,
    profile: Path | None = None,
) -> T:
    """Return what `task` returns, and raise what it raises, in the words of Python.

    `stop` ends the work early, with InterruptedRunError; it is set if the caller is interrupted.
    """
    from ingest.pipeline.progress import Progress
    from ingest.runtime.profiler import StageProfiler
    from ingest.runtime.trace import Trace

    stop = stop or threading.Event()
    with ExitStack() as stack:
        following = Progress(StageProfiler(stack.enter_context(Trace(profile)) if profile else None))
        tick = stack.enter_context(show(following, progress))
        work = _Work(lambda: task(following, stop))
        try:
            work.start()
            while work.wait(_TICK_S):
                tick()
        except BaseException:
            stop.set()
            while work.wait(_TICK_S):  # a second interruption ends this wait; the thread then ends by itself
                pass
            raise
        tick()
        return reword_errors(work.result)


def reword_errors(result: Callable[[], T]) -> T:
    """Return what `result` returns; raise its errors in the words of Python."""
    try:
        return result()
    except IngestError as error:
        raise reword(error)  # noqa: B904  the same error


def reword(error: IngestError) -> IngestError:
    """Return an error with its message in the words of Python, on one line."""
    # A command never holds a file twice; a program may have forgotten what it has opened.
    own = "; if it is this program, close what ingest.connect has opened, or wait for its other call"
    error.args = (in_python(escape.line(str(error))) + own * isinstance(error, BusyError),)
    return error


class _Work(Generic[T]):
    """A function on a thread of its own, and what came of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._run,), name="ingest", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, at most so long; return whether the work goes on."""
        # Not by joining the thread: Python 3.11 takes one for ended if that is interrupted.
        if self._thread.ident is not None and not self._done.wait(seconds):
            return True
        if self._done.is_set():
            self._thread.join()
        return False

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._function())
        except BaseException as error:  # noqa: BLE001  raised in the thread that waits
            self._error = error
        finally:
            self._done.set()
