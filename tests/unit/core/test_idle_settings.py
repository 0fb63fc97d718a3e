"""Which settings of a run have no effect beside others."""

from __future__ import annotations

from pathlib import Path

from ingest.core.idle_settings import idle_settings
from ingest.core.settings import KEYS, Settings


def idle(**given) -> set[str]:
    return {name for _, names in idle_settings(Settings(**given)) for name in names}


def test_one_machine_and_a_cluster_have_settings_of_their_own():
    assert idle() == {"address", "actors", "gpus_per_actor", "cluster_wait", "upsert_parallelism", "bulk_path"}
    assert idle(bulk_folder=Path("x")) == idle() - {"bulk_path"}
    assert idle(engine="ray") == {"bulk_folder", "bulk_path"}
    assert idle() | idle(engine="ray") <= set(KEYS)
