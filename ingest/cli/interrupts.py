"""Ctrl-C and SIGTERM: one ends any command with exit code 130; a run first finishes what is in flight."""

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
    """Have the next signal end this process, and let in what `hold` held back.

    The handler itself ends it. KeyboardInterrupt would be raised in whatever is running, and imports and destructors
    swallow exceptions: the command would go on. Nothing is lost: what a killed command leaves is what it may leave.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: _end("interrupted"))
    _mask(signal.SIG_UNBLOCK)


def hold() -> None:
    """Hold signals back, also in the program that takes this one's place, until its `end_at_once`."""
    _mask(signal.SIG_BLOCK)


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Give an event that the first signal sets; the second ends the process at once."""
    stop = threading.Event()
    interrupted = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            _end("stopped at once")
        interrupted = True
        # By another thread: this one may be interrupted just where it holds the event's own lock.
        threading.Thread(target=stop.set, daemon=True).start()
        _say("finishing what is in flight; again to stop at once")

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
    with suppress(OSError):  # whoever read this has gone, perhaps by the same signal
        os.write(2, f"\ningest: {what}\n".encode())


def _mask(how: int) -> None:
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(how, SIGNALS)
