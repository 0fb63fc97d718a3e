"""The model, loaded on a thread of its own while the first images are still being read and decoded."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ingest.runtime.profiler import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.runtime.profiler import StageProfiler

log = logging.getLogger(__name__)


class EarlyLoad:
    """Calls `load`, which loads the model or waits until it is loaded, once somebody says that it will be needed.

    For any number of threads. An error is left to the stage that needs the model, which calls `load` again.
    """

    def __init__(self, load: Callable[[], object], profiler: StageProfiler) -> None:
        self._load = load
        self._profiler = profiler
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to load; a second call does nothing."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="model", daemon=True)
                self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended; nothing can stop it while it imports torch."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            with self._profiler.working(MODEL):
                self._load()
        except Exception as error:  # noqa: BLE001  raised where the model is needed
            log.debug("loading the model: %s", error)
