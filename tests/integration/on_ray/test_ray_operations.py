"""What an operator meets on a cluster: too little room, a cluster that grows, an interruption, a node that fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.ray_shop import IGNORED, Plain, on_ray
from support.shop import COMMAND, TIMEOUT_S
from support.small_shop import SmallShop

from ingest.core.errors import ClusterSizeError, InterruptedRunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray.cluster_utils import Cluster

pytestmark = IGNORED

GROWING = "waiting up to 60 s for the cluster to grow: --gpus-per-actor 1: "
AT_ONCE_S = 15.0
"""Within which a run says what it cannot have, or ends when it is told to; the machine is busy."""


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    shop = SmallShop(tmp_path)
    shop.stock({f"P{number:03d}": (number, "Mug") for number in range(300)})
    return shop


@pytest.fixture
def gpu_node(cluster: Cluster) -> Iterator[list[Any]]:
    """Return a list for a node to come, which is removed in the end."""
    nodes: list[Any] = []
    yield nodes
    for node in nodes:
        cluster.remove_node(node)


@pytest.mark.parametrize("asked", [{"actors": "4"}, {"gpus_per_actor": 1.0}])
def test_what_the_cluster_does_not_have_is_said_at_once(
    cluster: Cluster, shop: SmallShop, asked: dict[str, Any]
) -> None:
    begun = time.monotonic()
    with pytest.raises(ClusterSizeError, match="the cluster has 2 CPUs and 0 GPUs"):
        on_ray(shop, **asked)
    assert time.monotonic() - begun < AT_ONCE_S


def test_a_cluster_that_grows_is_waited_for_and_its_gpu_is_found(
    cluster: Cluster, shop: SmallShop, gpu_node: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(on_ray, shop, gpus_per_actor=1.0, cluster_wait=60.0)
        while not [line for line in caplog.messages if line.startswith(GROWING)]:
            assert not run.done(), run.result()
            time.sleep(0.05)
        gpu_node.append(cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=100 * 2**20))
        assert run.result().summary.upserted == 300
    assert cluster_nodes_with_gpus() == 1
    shop.redraw(3, 900)
    assert on_ray(shop).summary.upserted == 1, "auto takes the GPU"


def cluster_nodes_with_gpus() -> int:
    import ray

    return sum(node["Alive"] and node["Resources"].get("GPU", 0) > 0 for node in ray.nodes())


def test_an_interrupted_run_ends_at_once_and_the_next_one_goes_on(cluster: Cluster, shop: SmallShop) -> None:
    stop, stopped = threading.Event(), []

    def interrupt() -> None:
        while not list(shop.folder.glob("data/embeddings/store/*/block-*/keys.npy")):
            time.sleep(0.01)
        stopped.append(time.monotonic())
        stop.set()

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(InterruptedRunError):
        on_ray(shop, Plain(0.05), stop=stop)
    assert time.monotonic() - stopped[0] < AT_ONCE_S
    interrupting.join()
    summary = on_ray(shop).summary
    assert summary.upserted + summary.unchanged == 300
    assert summary.embedded < 300, "what was stored by then is not embedded again"


def test_a_node_that_fails_ends_the_run_with_a_word_and_a_report(shop: SmallShop, tiny_clip: Path) -> None:
    arguments = ["run", "--engine", "ray", "--catalog", "products.csv", "--model", str(tiny_clip), "--json", "--quiet"]
    run = subprocess.Popen(
        [COMMAND, *arguments], cwd=shop.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ},
    )  # fmt: skip
    try:
        while (raylet := working_node(run.pid)) is None:
            assert run.poll() is None, run.communicate()
            time.sleep(0.05)
        os.kill(raylet, signal.SIGKILL)
        out, err = run.communicate(timeout=TIMEOUT_S)
    finally:
        run.kill()
    assert (run.returncode, out) == (3, ""), err
    (line,) = err.splitlines()
    assert line.startswith(
        "ingest: --engine ray: Ray's process on this node (raylet) has ended; what was written is kept"
    )
    (report,) = (shop.folder / "data" / "runs").glob("*/report.json")
    assert json.loads(report.read_text())["outcome"] == "failed"


def working_node(driver: int) -> int | None:
    """Return the raylet that a process has started, when an actor works below it."""
    processes: dict[int, tuple[str, int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            status = (folder / "status").read_text()
            parent = int(status.partition("\nPPid:\t")[2].partition("\n")[0])
            processes[int(folder.name)] = (folder / "comm").read_text().strip(), parent
    for name, parent in processes.values():
        if name.startswith("ray::MapWorker") and processes.get(parent, ("", 0)) == ("raylet", driver):
            return parent
    return None
