"""Environment variables that a library reads while it is imported: set for that moment, and then as they were.

The process may be somebody else's, who imports `ingest` and starts programs of their own.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CHANGING = threading.RLock()


@contextmanager
def variables(defaults: Mapping[str, str], without: str = "") -> Iterator[None]:
    """Set variables that have no value yet, and remove one, while the block runs; one block at a time."""
    with _CHANGING:
        before = {name: os.environ.get(name) for name in (*defaults, *filter(None, [without]))}
        os.environ.update({name: value for name, value in defaults.items() if before[name] is None})
        if without:
            os.environ.pop(without, None)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
