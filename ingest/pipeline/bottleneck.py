"""What a run is bound by, and the one thing to change that would make it faster, where there is one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.core.records import Stage
from ingest.runtime.profiler import EXPORTS, busiest

if TYPE_CHECKING:
    from ingest.core.settings import Settings
    from ingest.runtime.profiler import BusyShare

_HINTED_AT = 0.7
"""A part that is busy for less of the time would not make the run much shorter."""
_LARGE_BATCH = 256  # from here on a device, and a disk that syncs each batch, gain little by more
_WORKED_BY: dict[str, str] = {Stage.EMBEDDING: "device ", Stage.DECODE: "workers ", Stage.IMAGES: "workers "}


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The busiest part of a run, how busy it was (0 to 1), and a hint or nothing."""

    part: str
    busy: float
    hint: str

    def __str__(self) -> str:
        """Say it in words: `embedding (device 97 % busy)`."""
        return f"{self.part} ({_WORKED_BY.get(self.part, '')}{self.busy * 100:.0f} % busy)"


def find_bottleneck(shares: dict[str, BusyShare], settings: Settings, device: str) -> Bottleneck | None:
    """Return what a run was bound by, None where nothing was measured. `device` is where it embedded, or nothing."""
    part = busiest(shares)
    if part is None:
        return None
    busy, threads = shares[part]
    return Bottleneck(part, busy, _hint(part, threads, settings, device) if busy >= _HINTED_AT else "")


def _hint(part: str, threads: int, settings: Settings, device: str) -> str:
    """Return what would relieve `part`; nothing where it has all that this machine and these settings can give."""
    small_batch = 0 < settings.batch < _LARGE_BATCH
    is_lite = "://" not in settings.milvus_uri
    relief: dict[str, str] = {
        Stage.IMAGES: _more_downloads(threads, settings),
        Stage.DECODE: "raise --decode-workers" if 0 < settings.decode_workers < (os.cpu_count() or 1) else "",
        Stage.EMBEDDING: "use a GPU" if device == "cpu" else "raise --batch-size" if device and small_batch else "",
        Stage.STORE: "raise --batch-size" if small_batch else "",
        Stage.MILVUS: "use a Milvus server, which is faster than Milvus Lite" if is_lite else "",
        EXPORTS: "leave them out with --no-exports, and write them when they are needed with: ingest export",
    }
    return relief.get(part, "")


def _more_downloads(threads: int, settings: Settings) -> str:
    """Return how to have more downloads at once; fewer than may be are kept so by the limit for one host."""
    if not settings.download_missing:
        return ""
    few = threads < settings.download_workers
    return "raise --download-per-host, where the hosts allow it" if few else "raise --download-workers"
