"""Shared by tests on Ray: a cluster, a shop, and encoders for the workers that are slow or kill them."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from support.fake_encoder import FakeEncoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from ray.cluster_utils import Cluster
    from support.small_shop import SmallShop

    from ingest.core.contract import Space
    from ingest.embedding.encoder import Pixels
    from ingest.pipeline.distributed.workers import Job

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}

IGNORED = [
    # Ray leaves closing the files and sockets of its processes to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore:.*:UserWarning:ray"),  # about the load of its actors, if one has just died
]
"""The marks for a module that starts a cluster."""

MIXED = 420
"""Products of `mixed`: two blocks."""
POISON = 77
"""The value of all pixels of an image that kills the worker that embeds it."""


@dataclass(frozen=True)
class Plain:
    """Makes a fake encoder that waits `pause_s` before each batch."""

    pause_s: float = 0.0

    def __call__(self, job: Job) -> Any:
        return _Slow(job.checkpoint.space, self)

    def before(self, batch: NDArray[np.uint8]) -> None:
        time.sleep(self.pause_s * bool(len(batch)))


@dataclass(frozen=True)
class DiesOnce(Plain):
    """Kills its process at the first batch, once for all workers together."""

    mark: Path = Path()

    def before(self, batch: NDArray[np.uint8]) -> None:
        time.sleep(self.pause_s * bool(len(batch)))
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return
        os._exit(1)


@dataclass(frozen=True)
class DiesOfPoison(Plain):
    """Kills its process whenever a certain image is in the batch, and writes a line to `log`."""

    log: Path = Path()

    def before(self, batch: NDArray[np.uint8]) -> None:
        if any((picture == POISON).all() for picture in batch):
            with self.log.open("a") as file:
                file.write(f"{len(batch)}\n")
            os._exit(1)


class _Slow(FakeEncoder):
    def __init__(self, space: Space, kind: Plain) -> None:
        super().__init__(space)
        self._kind = kind

    def images(self, pixels: Pixels) -> NDArray[np.float32]:
        self._kind.before(pixels)
        return super().images(pixels)


@contextmanager
def encoding(encoder: Any) -> Iterator[None]:
    """Make the workers of runs in this block embed with the encoder that `encoder` makes."""
    from ingest.pipeline.distributed import driver
    from ingest.tasks import run

    with mock.patch.object(run.driver, "write_rows", partial(driver.write_rows, encoder=encoder)):
        yield


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start two nodes with this process's environment, and connect to them."""
    import ray
    from ray.cluster_utils import Cluster

    here = Path(__file__).parents[1]
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    workers = here / "integration" / "on_ray" / "workers"
    paths = [str(workers), str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))  # the workers import the tests' encoders
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        try:
            cluster.add_node(**node)
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
            cluster.wait_for_nodes()
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def on_ray(shop: SmallShop, encoder: Any = Plain(), **changes: Any) -> Any:
    with encoding(encoder):
        return shop.run(engine="ray", batch_size=32, **changes)


def stock(products: int) -> dict[str, tuple[int | None, str]]:
    """Return products of which one in six shares its image with another."""
    return {f"P{n:03d}": (n % (MIXED * 5 // 6), f"Product {n}") for n in range(products)}


def mixed(shop: SmallShop) -> None:
    """Stock two blocks of products: shared images, a damaged one, a missing one, and two products of one id."""
    shop.stock(stock(MIXED) | {"P007": (None, "Broken")})
    (shop.folder / "images" / "9.png").unlink()
    with shop.settings.catalog.open("a", encoding="utf-8") as file:
        file.write("P001,images/1.png,Again\n,images/2.png,Nameless\n")


def exported(shop: SmallShop) -> list[bytes]:
    return [shop.settings.npy.read_bytes(), shop.settings.npy_ids.read_bytes()]
