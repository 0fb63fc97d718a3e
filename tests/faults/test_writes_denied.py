"""A server whose disk or memory is at its quota denies writes: that is waited for, told, and made good later."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING

import pytest
from pymilvus import MilvusException
from support.milvus_server import Server, milvus_server
from support.shop import client_of

from faults.many import SHARING, ManyProducts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faults.forked import Forked

PRODUCTS = 4000
SMALL_BUFFERS = {
    "QUOTAANDLIMITS_QUOTACENTERCOLLECTINTERVAL": "1",  # seconds
    "DATANODE_SEGMENT_INSERTBUFSIZE": "100000",  # bytes after which rows go to the disk, where the quota counts them
}
_WATER = {f"{node}NodeMemory{mark}WaterLevel" for node in ("query", "data") for mark in ("Low", "High")}
QUOTAS: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "disk": ({"diskQuota": 0.2}, {"diskQuota": -1}),
    "memory": ({name: 0.0002 if "High" in name else 0.0001 for name in _WATER},
               {name: 0.95 if "High" in name else 0.85 for name in _WATER}),
    "disk of one collection": ({"diskQuotaPerCollection": 0.2}, {"diskQuotaPerCollection": -1}),
}  # fmt: skip
"""The settings under which writes are denied, and those with room."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with milvus_server(**SMALL_BUFFERS) as server:
        yield server


def fill(server: Server) -> None:
    """Write rows of somebody else's until the server denies it: by itself it notices a full disk only after a while.

    All are new: the server would make room by dropping what was replaced.
    """
    with client_of(server.uri) as client:
        client.create_collection("others", dimension=64)
        deadline = time.monotonic() + 60
        with pytest.raises(MilvusException, match="quota exceeded"):
            for start in count(step=1000):
                assert time.monotonic() < deadline
                rows = [{"id": start + number, "vector": [0.5] * 64} for number in range(1000)]
                client.upsert("others", rows, timeout=2)
                client.flush("others")


def gives_up(shop: ManyProducts, forked: Forked, kind: str) -> None:
    """Run, and see that it waits with a word and ends with another."""
    reason = f"quota exceeded[reason={kind.partition(' ')[0]} quota exceeded"
    began = time.monotonic()
    code, (*waiting, error) = shop.run(forked, "--max-wait", "2")
    assert (code, len(waiting)) == (5, 1)
    assert time.monotonic() - began > 2
    assert f"waiting for Milvus at {shop.uri} (upsert into {shop.name}): {reason}" in waiting[0]
    assert waiting[0].endswith("for at most 2 s, while embedding continues")
    assert f"cannot upsert into {shop.name}: {reason}" in error
    assert error.endswith("the server denies writes: give it more memory or disk, or raise its quota, and run again")
    with client_of(shop.uri) as client:
        assert not client.has_collection(shop.alias), "it is not served before all of it is there"


def goes_on_by_itself(shop: ManyProducts, forked: Forked, server: Server, roomy: dict[str, float]) -> None:
    """Run, and give room while it waits."""
    (shop.folder / "command.log").unlink(missing_ok=True)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(shop.run, forked, "--max-wait", "60")
        while not any("waiting for Milvus" in line for line in shop.said()):
            assert not run.done(), run.result()
            time.sleep(0.1)
        server.set(**roomy)
        code, said = run.result()
    assert code == 0, said
    assert shop.embedded() == PRODUCTS // SHARING, "what was embedded while nothing could be written is in the store"
    assert shop.rows() == shop.ids


def test_writes_denied_for_disk_and_then_for_memory_cost_no_row(
    forked: Forked, server: Server, tmp_path: Path, tiny_clip: Path
) -> None:
    shop = ManyProducts(tmp_path / "shop", tiny_clip, PRODUCTS, server.uri, "denied")
    server.set(**QUOTAS["disk"][0])
    fill(server)
    gives_up(shop, forked, "disk")
    server.set(**QUOTAS["disk"][1], **QUOTAS["memory"][0])
    goes_on_by_itself(shop, forked, server, QUOTAS["memory"][1])


@pytest.mark.skipif(not os.environ.get("INGEST_SOAK"), reason="takes two minutes: INGEST_SOAK=1")
@pytest.mark.parametrize("kind", QUOTAS)
def test_writes_denied_are_waited_for_and_told_and_cost_no_row(
    forked: Forked, server: Server, tmp_path: Path, tiny_clip: Path, kind: str
) -> None:
    denied, roomy = QUOTAS[kind]
    shop = ManyProducts(tmp_path / "shop", tiny_clip, PRODUCTS, server.uri, f"denied_{list(QUOTAS).index(kind)}")
    server.set(**denied)
    if kind == "disk":
        fill(server)
    gives_up(shop, forked, kind)
    goes_on_by_itself(shop, forked, server, roomy)
