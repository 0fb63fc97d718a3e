"""Ctrl-C and SIGTERM end a command with exit code 130; a run first finishes the work in progress."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CODE = 130


def end_at_once() -> None:
    """End the process at the next signal, and deliver signals that `hold` blocked.

    The handler itself ends it. A KeyboardInterrupt is raised in whatever code is running, and imports and destructors
    swallow exceptions, so the command would go on. Ending at once loses nothing: every command survives a kill.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: _end("interrupted"))
    _mask(signal.SIG_UNBLOCK)


def hold() -> None:
    """Block signals until `end_at_once`, also across exec."""
    _mask(signal.SIG_BLOCK)


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Return an event that the first signal sets; a second signal ends the process at once."""
    stop = threading.Event()
    interrupted = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            _end("stopped at once")
        interrupted = True
        # In another thread, because this one may hold the event's lock at this moment.
        threading.Thread(target=stop.set, daemon=True).start()
        _say("finishing the work in progress; press again to stop at once")

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(how: str) -> NoReturn:
    _say(f"{how}; run the same command again to go on")
    os._exit(_CODE)


def _say(what: str) -> None:
    with suppress(OSError):  # the reader has gone, perhaps because of the same signal
        os.write(2, f"\ningest: {what}\n".encode())


def _mask(how: int) -> None:
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(how, SIGNALS)
