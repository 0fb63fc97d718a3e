"""Settings of a run that have no effect beside others: to give one is a mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.core.settings import Settings

_ON_A_CLUSTER = ("address", "actors", "gpus_per_actor", "cluster_wait", "upsert_parallelism")
_ON_ONE_MACHINE = ("bulk_folder", "bulk_path")


def idle_settings(settings: Settings) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield why some settings have no effect in a run, as the end of a message, and their names."""
    if settings.engine == "ray":
        yield "works with --engine threads only; on a cluster the workers upsert.", _ON_ONE_MACHINE
    else:
        yield "works with --engine ray only.", _ON_A_CLUSTER
    if settings.bulk_folder is None:
        yield "works with --bulk-folder only.", ("bulk_path",)
