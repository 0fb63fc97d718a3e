"""What limits the speed of a run, and the one thing to change that would make it faster, if there is one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.core.records import Stage
from ingest.images.decode.in_processes import uses_processes
from ingest.runtime.profiler import EXPORTS, busiest

if TYPE_CHECKING:
    from ingest.core.settings import Settings
    from ingest.runtime.profiler import BusyShare

_HINTED_AT = 0.7
"""Speeding up a part that is busy for a smaller share of the time would not make the run much shorter."""
_MANY_CORES = 8  # on two, threads are as fast as processes
_LARGE_BATCH = 256  # a larger one helps a device little
_ON_A_CLUSTER: dict[str, str] = {
    Stage.IMAGES: "add nodes", Stage.DECODE: "add nodes", Stage.EMBEDDING: "raise --actors, or add nodes",
    Stage.MILVUS: "raise --upsert-parallelism",
}  # fmt: skip
_WORKED_BY: dict[str, str] = {Stage.EMBEDDING: "device ", Stage.DECODE: "workers ", Stage.IMAGES: "workers "}


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The busiest part of a run, how busy it was (0 to 1), and a hint or ""."""

    part: str
    busy: float
    hint: str

    def __str__(self) -> str:
        """Return it in words: `embedding (device 97 % busy)`."""
        return f"{self.part} ({_WORKED_BY.get(self.part, '')}{self.busy * 100:.0f} % busy)"


def find_bottleneck(shares: dict[str, BusyShare], settings: Settings, device: str) -> Bottleneck | None:
    """Return the bottleneck, None if nothing was measured. `device` is where images were embedded, "" if none were."""
    part = busiest(shares)
    if part is None:
        return None
    busy, threads = shares[part]
    return Bottleneck(part, busy, _hint(part, threads, settings, device) if busy >= _HINTED_AT else "")


def _hint(part: str, threads: int, settings: Settings, device: str) -> str:
    """Return how to speed `part` up; "" if it has all that this machine and these settings can give."""
    if settings.engine == "ray":
        return _ON_A_CLUSTER.get(part, "")
    small_batch = 0 < settings.batch < _LARGE_BATCH
    is_lite = "://" not in settings.milvus_uri
    hints: dict[str, str] = {
        Stage.IMAGES: _more_downloads(threads, settings),
        Stage.DECODE: _more_decoding(settings),
        Stage.EMBEDDING: "use a GPU" if device == "cpu" else "raise --batch-size" if device and small_batch else "",
        Stage.MILVUS: "use a Milvus server, which is faster than Milvus Lite" if is_lite else "",
        EXPORTS: "leave them out with --no-exports, and write them when they are needed with: ingest export",
    }
    return hints.get(part, "")


def _more_decoding(settings: Settings) -> str:
    """Return how to decode more at once; on many cores, threads wait for one another more than for the decoder."""
    cores = os.cpu_count() or 1
    if 0 < settings.decode_workers < cores:
        return "raise --decode-workers"
    return "pass --decode-in processes" if cores >= _MANY_CORES and not uses_processes(settings) else ""


def _more_downloads(threads: int, settings: Settings) -> str:
    """Return how to download more at once; if some threads were idle, the limit per host held them back."""
    if not settings.download_missing:
        return ""
    if threads < settings.download_workers:
        return "raise --download-per-host, if the hosts allow it"
    return "raise --download-workers"
