"""A connection to a Ray cluster, and how much of the cluster a run uses."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.core.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.core.settings import Settings


@dataclass(frozen=True, slots=True)
class ActorPool:
    """The actors of a run: `fewest` to `most` that embed, with `gpus` each, and up to `upserts` that upsert."""

    fewest: int
    most: int
    gpus: float
    upserts: int

    @classmethod
    def of(cls, settings: Settings) -> ActorPool:
        """Return what the settings ask for; raises ConfigError if `actors` is neither N nor MIN,MAX."""
        parts = settings.actors.replace(" ", "").split(",")
        numbers = [int(part) for part in parts if part.isascii() and part.isdecimal()]
        if len(numbers) != len(parts) or len(parts) > 2 or not 1 <= numbers[0] <= numbers[-1]:
            raise ConfigError(f"--actors {settings.actors}: pass a number of actors, or a minimum and a maximum: 1,8")
        return cls(numbers[0], numbers[-1], settings.gpus_per_actor, settings.upsert_parallelism)


@contextmanager
def connect(address: str) -> Iterator[None]:
    """Connect to the cluster at `address`, or start one on this machine if it is `local`.

    A process that is connected to Ray already keeps its connection. Raises EngineError if Ray is not installed or the
    cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # keeps Ray's log lines out of our output
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise EngineError(f"--engine ray: Ray is not installed ({error}); pip install 'ingest[ray]'") from error
    if ray.is_initialized():
        yield
        return
    on_sigterm = signal.getsignal(signal.SIGTERM)
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # ConnectionError, RuntimeError, TimeoutError, and gRPC's own
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise EngineError(f"--address {address}: cannot connect to a Ray cluster ({why}); see: ray status") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's handler would end the run halfway
    try:
        yield
    finally:
        ray.shutdown()
