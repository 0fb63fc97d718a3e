"""How many models run on a cluster: what the settings ask for, held against what the cluster's nodes have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ingest.core.errors import ClusterSizeError, ConfigError
from ingest.core.records import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.core.settings import Settings

FETCH_CPUS, EMBED_CPUS, UPSERT_CPUS = 0.25, 0.5, 0.1
"""Cores that Ray sets aside for a task or an actor. An actor with a GPU takes none."""
_UPSERTS_BESIDE_FETCHING, _UPSERTS = 2, 5  # in half a core
_AUTO = "auto"


class Node(NamedTuple):
    """What a node of the cluster has, whoever uses it."""

    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class ActorPool:
    """The actors of a run: `fewest` to `most` that embed, with `gpus` each, and up to `upserts` that upsert.

    `fetches` is for how many tasks that fetch and decode there is room beside them.
    """

    fewest: int
    most: int
    gpus: float
    upserts: int
    fetches: int = 1

    @property
    def at_once(self) -> dict[str, int]:
        """How many blocks each stage works on at the same time."""
        return {
            Stage.IMAGES: self.fetches, Stage.DECODE: self.fetches, Stage.EMBEDDING: self.most,
            Stage.MILVUS: self.upserts,
        }  # fmt: skip


def choose_pool(settings: Settings, nodes: Sequence[Node]) -> ActorPool:
    """Return the actors that run on these nodes, and leave room for the tasks that fetch and for those that upsert.

    Without a number in the settings that is a model for each GPU, or one for each node if there are no GPUs. Raises
    ConfigError if `actors` or `gpus_per_actor` cannot be read, and ClusterSizeError if the nodes have no room.
    """
    asked = _asked(settings.actors)
    gpus = _gpus_per_actor(settings, nodes)
    upserts = settings.upsert_parallelism
    room = _room_on_gpus(gpus, nodes) if gpus else _room_on_cpus(upserts, nodes)
    has = f"the cluster has {_count(sum(node.cpus for node in nodes), 'CPU')} and "
    has += _count(sum(node.gpus for node in nodes), "GPU")
    if gpus and not room:
        raise ClusterSizeError(f"--gpus-per-actor {gpus:g}: {has}, and no node so many; lower it, or add a node")
    if (_room_on_cpus(upserts, nodes) < 1) if not gpus else all(node.cpus < EMBED_CPUS for node in nodes):
        halves = 1 if gpus else 1 + _reserved(upserts)
        raise ClusterSizeError(
            f"--engine ray: {has}, and a run with --upsert-parallelism {upserts} needs {_count(halves / 2, 'CPU')}, no "
            "less than half a one on a node; lower that, or add a node"
        )
    fewest, most = asked or (1, room if gpus else min(room, len(nodes)))
    if fewest > room:
        needs = _count(gpus, "GPU") if gpus else f"half a CPU, and fetching and upserting {_reserved(upserts) / 2:g}"
        raise ClusterSizeError(
            f"--actors {settings.actors}: {has}, which is room for {room}: each needs {needs}; lower it, or add nodes"
        )
    most = min(most, room)
    left = sum(node.cpus for node in nodes) - UPSERT_CPUS * upserts - (0 if gpus else EMBED_CPUS * most)
    return ActorPool(fewest, most, gpus, upserts, max(1, int(left / FETCH_CPUS)))


def check_settings(settings: Settings) -> None:
    """Raise ConfigError if `actors` or `gpus_per_actor` cannot be read."""
    _asked(settings.actors)
    _gpus_per_actor(settings, ())


def _asked(actors: str) -> tuple[int, int] | None:
    """Return the fewest and the most actors, None for `auto`."""
    if actors.strip() == _AUTO:
        return None
    parts = actors.replace(" ", "").split(",")
    numbers = [int(part) for part in parts if part.isascii() and part.isdecimal()]
    if len(numbers) != len(parts) or len(parts) > 2 or not 1 <= numbers[0] <= numbers[-1]:
        raise ConfigError(f"--actors {actors}: pass auto, a number of actors, or a minimum and a maximum: 1,8")
    return numbers[0], numbers[-1]


def _gpus_per_actor(settings: Settings, nodes: Sequence[Node]) -> float:
    if settings.gpus_per_actor == _AUTO:
        return 1.0 if any(node.gpus >= 1 for node in nodes) else 0.0
    try:
        gpus = float(settings.gpus_per_actor)
    except ValueError:
        gpus = math.nan
    if not 0 <= gpus < math.inf:
        raise ConfigError(f"--gpus-per-actor {settings.gpus_per_actor}: pass auto or a number, such as 1 or 0.5")
    return gpus


def _room_on_gpus(gpus: float, nodes: Sequence[Node]) -> int:
    """Return for how many actors there are GPUs. A share of a GPU is a share of one."""
    if gpus < 1:
        return sum(int(node.gpus) * int(1 / gpus + 1e-9) for node in nodes)
    return sum(int(node.gpus // gpus) for node in nodes)


def _room_on_cpus(upserts: int, nodes: Sequence[Node]) -> int:
    """Return for how many actors there are half cores on a node, besides those for fetching and upserting."""
    halves = sum(int(node.cpus / EMBED_CPUS) for node in nodes)
    return max(halves - _reserved(upserts), 0)


def _reserved(upserts: int) -> int:
    """Return how many half cores one fetching task and the upserting actors need."""
    return 1 + math.ceil(max(upserts - _UPSERTS_BESIDE_FETCHING, 0) / _UPSERTS)


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"
