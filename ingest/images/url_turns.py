"""One request for a URL at a time, and none for one that has failed in this run, however many products share it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ingest.core.records import Reason
from ingest.images import urls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.images.urls import DownloadError, UrlKey

_ERRORS = 10_000  # remembered, some 300 bytes each


class UrlTurns:
    """The URLs that are requested now, and those that have failed. For any number of threads."""

    def __init__(self, url_key: UrlKey) -> None:
        self._url_key = url_key
        self._lock = threading.Lock()
        self._turns: dict[bytes, tuple[threading.Lock, int]] = {}
        self._errors: OrderedDict[bytes, tuple[str, DownloadError]] = OrderedDict()

    @contextmanager
    def turn(self, url: str) -> Iterator[None]:
        """Wait until no other thread is in this block with a URL of the same image."""
        key = self._url_key.part(urls.key(url))
        with self._lock:
            turn, waiting = self._turns.get(key, (threading.Lock(), 0))
            self._turns[key] = turn, waiting + 1
        try:
            with turn:
                yield
        finally:
            with self._lock:
                turn, waiting = self._turns.pop(key)
                if waiting > 1:
                    self._turns[key] = turn, waiting - 1

    def error(self, product_id: str, url: str) -> DownloadError | None:
        """Return why exactly this URL gave no image to another product; None if that is not known."""
        with self._lock:
            other, error = self._errors.get(urls.key(url), (product_id, None))
        return error if other != product_id else None

    def note(self, product_id: str, url: str, error: DownloadError) -> None:
        """Remember why a URL gave no image; not if it was not even tried, because its host was resting."""
        if error.reason is Reason.HOST_RESTING:
            return
        with self._lock:
            self._errors[urls.key(url)] = product_id, error
            while len(self._errors) > _ERRORS:
                self._errors.popitem(last=False)
