"""How the catalog's pictures stand, as the cache has it written down: no network, no picture, no heavy import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import ConfigError
from ingest.images import states
from ingest.images.cache import FOLDER, INDEX
from ingest.images.index import Index, reading

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.images.states import Host, Quality, State


@dataclass(frozen=True, slots=True)
class Status:
    """What the cache knows of the pictures."""

    states: list[State]
    worst_hosts: list[Host]
    quality: Quality


def status(data: Path) -> Status:
    """Return what the cache in the data folder knows; a run may go on meanwhile. Raises ConfigError where none is."""
    path = data / FOLDER / INDEX
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; run ingest fetch or ingest run first, or pass --data")
    index = Index(path, reading)
    try:
        return Status(states.states(index), states.worst_hosts(index), states.quality(index))
    finally:
        index.close()
