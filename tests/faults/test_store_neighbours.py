"""A run over object storage beside machines that compact it again and again, and compactions beside each other."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from support.bucket import IGNORED
from support.checkpoints import DIM
from support.forked import fork_server
from support.object_storage import BUCKET
from support.shop import COMMAND, TIMEOUT_S, environment_of, spied

from faults.stocked import DAY_S, SHARD, StockedShop, put_shards, vectors_below, vectors_in
from ingest.store.bucket import Bucket
from ingest.store.object_storage import ObjectStorageStore

if TYPE_CHECKING:
    from pathlib import Path

    from support.object_storage import Storage

pytestmark = IGNORED

PRODUCTS, KNOWN = 160, 80
PAIRS = 4
COMPACT = ["store", "compact", "--quiet", "--store"]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path) -> StockedShop:
    """Return a shop that a run has filled undisturbed, with a store on its disk; half of its vectors came first."""
    shop = StockedShop(tmp_path_factory.mktemp("calm"), tiny_clip)
    for products in (KNOWN, PRODUCTS):
        shop.stock_numbers(range(products))
        shop.run(**spied(shop.folder / "embedded"))
        if products == KNOWN:
            shop.elsewhere(shop.folder.with_name("known"))
    return shop


def machines(folder: Path, model: Path) -> list[StockedShop]:
    """Return two machines that only compact."""
    found = [StockedShop(folder / name, model) for name in ("one", "other")]
    for machine in found:
        machine.stock_numbers(range(1))
    return found


def test_a_run_ends_right_while_two_machines_compact_its_store(
    calm: StockedShop, storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, space = f"s3://{BUCKET}/beside", calm.fingerprint
    known = StockedShop(calm.folder.with_name("known"), calm.model)
    put_shards(known.store / space, Bucket(f"s3://{BUCKET}"), f"beside/{space}")
    shop = StockedShop(tmp_path / "shop", calm.model)
    shop.stock_numbers(range(PRODUCTS))
    run = fork_server().start(
        [COMMAND, "run", "--json", "--store", place],
        shop.folder,
        environment_of(spied(tmp_path / "embedded", 0.15)),
        before=[("faults.interference", "store_small_shards", [SHARD])],
    )
    compacting = machines(tmp_path, calm.model)
    for rounds in count(1):  # noqa: B007
        beside = [machine.started(*COMPACT, place) for machine in compacting]
        for one in beside:
            said = one.communicate(TIMEOUT_S)
            assert one.returncode == 0, said
        if run.poll() is not None:
            break
    assert run.returncode == 0, run.communicate()

    embedded = sum(int(line) for line in (tmp_path / "embedded").read_text().split())
    assert embedded == PRODUCTS - KNOWN, "a stored vector was embedded again"
    assert shop.rows() == calm.rows()
    assert shop.exports == calm.exports
    assert vectors_in(ObjectStorageStore(Bucket(f"{place}/{space}"), DIM, tmp_path / "fresh")) == calm.vectors()
    shop.done("verify", "--store", place)
    with capsys.disabled():
        print(f"\n{2 * rounds} compactions beside a run of {PRODUCTS}", end="")  # noqa: T201


def test_two_compactions_at_once_keep_every_vector(calm: StockedShop, storage: Storage, tmp_path: Path) -> None:
    compacting, bucket, expected = machines(tmp_path, calm.model), Bucket(f"s3://{BUCKET}"), calm.vectors()
    for number in range(PAIRS):
        place, space = f"s3://{BUCKET}/pair-{number}", calm.fingerprint
        put_shards(calm.store / space, bucket, f"pair-{number}/{space}")
        beside = [machine.started(*COMPACT, place) for machine in compacting]
        for one in beside:
            said = one.communicate(TIMEOUT_S)
            assert one.returncode == 0, said
        assert vectors_below(bucket, f"pair-{number}/{space}") == expected
        storage.age(f"pair-{number}", 2 * DAY_S)
        compacting[0].done(*COMPACT, place)
        assert len(bucket.list(f"pair-{number}")) == len(("keys.npy", "embeddings.npy")), "one shard, and nothing else"
        assert vectors_below(bucket, f"pair-{number}/{space}") == expected
