"""Runs whose vectors lie on object storage: the same files, and another machine goes on from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from support.bucket import IGNORED
from support.object_storage import BUCKET
from support.small_shop import SmallShop

if TYPE_CHECKING:
    from pathlib import Path

    from support.object_storage import Storage

pytestmark = IGNORED


def exports(shop: SmallShop) -> list[bytes]:
    return [shop.settings.npy.read_bytes(), shop.settings.npy_ids.read_bytes()]


def test_a_run_over_s3_gives_the_same_files_and_a_second_machine_embeds_nothing(storage: Storage, tmp_path: Path):
    stock = {f"P{n:02d}": (n, "Mug") for n in range(30)}
    place = f"s3://{BUCKET}/shop"
    local, remote, other = (SmallShop(tmp_path / name) for name in ("local", "remote", "other"))
    for shop in (local, remote, other):
        shop.stock(stock)
    local.run(exports=True)
    storage.fail("500", "cut", "500", method="GET", part="npy")
    assert remote.run(exports=True, store=place).summary.embedded == 30
    assert other.run(exports=True, store=place).summary.embedded == 0
    assert exports(local) == exports(remote) == exports(other)
    assert remote.rows() == local.rows()
    assert not list((remote.settings.data / "embeddings").glob("store/*"))


def test_a_plan_and_a_proof_read_the_mirror_and_leave_it_as_it_is(storage: Storage, tmp_path: Path):
    place = f"s3://{BUCKET}/shop"
    shop = SmallShop(tmp_path)
    shop.stock({f"P{n:02d}": (n, "Mug") for n in range(30)})
    shop.run(store=place)
    mirror = shop.settings.data / "embeddings" / "mirror"
    for path in mirror.glob("*/*.embeddings"):
        path.unlink()  # as if there had been no room for it
    before = {path: path.read_bytes() for path in mirror.rglob("*") if path.is_file()}
    assert before

    assert shop.plan(store=place).unchanged == 30
    verdict = shop.verify(store=place)

    assert (verdict.differing, verdict.sampled) == ([], 30)
    assert {path: path.read_bytes() for path in mirror.rglob("*") if path.is_file()} == before


def test_a_folder_may_be_shared_by_data_folders_one_after_the_other(tmp_path: Path):
    shop = SmallShop(tmp_path)
    shop.stock({f"P{n:02d}": (n, "Mug") for n in range(5)})
    shop.run(store=str(tmp_path / "vectors"))
    shop.settings = replace(shop.settings, data=tmp_path / "other")
    assert shop.run(store=str(tmp_path / "vectors")).summary.embedded == 0
