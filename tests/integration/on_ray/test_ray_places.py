"""Runs on a Ray cluster with catalog and vectors on object storage, and with a Milvus server that the workers fill."""

from __future__ import annotations

from contextlib import closing

import boto3
import pytest
from pymilvus import MilvusClient
from support import bucket, ray_shop
from support.object_storage import BUCKET
from support.ray_shop import MIXED, DiesOnce, exported, mixed, on_ray, stock
from support.shop import contract_in
from support.small_shop import SmallShop

from ingest.core.errors import StorageError

pytestmark = [*ray_shop.IGNORED, *bucket.IGNORED]

PARTS = 25
OF_THE_RUN = ("products", "upserted", "added", "changed", "unchanged", "skipped", "reasons", "gone", "stale", "deleted")


def uploaded(shop: SmallShop, folder: str) -> str:
    """Put a shop's catalog into the bucket, in parts."""
    header, *lines = shop.settings.catalog.read_text(encoding="utf-8").splitlines(keepends=True)
    each = -(-len(lines) // PARTS)
    client = boto3.client("s3")
    for number in range(PARTS):
        part = header + "".join(lines[number * each : (number + 1) * each])
        client.put_object(Bucket=BUCKET, Key=f"{folder}/part-{number:02d}.csv", Body=part.encode())
    client.close()
    return f"s3://{BUCKET}/{folder}"


def test_a_catalog_and_a_store_in_a_bucket_give_the_same_rows_as_one_machine(cluster, storage, tmp_path):
    plain, ray, third = (SmallShop(tmp_path / name) for name in ("plain", "ray", "third"))
    for shop in (plain, ray):
        mixed(shop)
    places = {"catalog": uploaded(ray, "catalog"), "store": f"s3://{BUCKET}/store", "images_root": ray.folder}
    first, second = plain.run(exports=True).summary, on_ray(ray, exports=True, **places).summary
    assert [getattr(first, name) for name in OF_THE_RUN] == [getattr(second, name) for name in OF_THE_RUN]
    assert ray.rows() == plain.rows()
    assert exported(ray) == exported(plain)
    again = on_ray(ray, exports=True, **places).summary
    assert (again.embedded, again.upserted, again.unchanged) == (0, 0, first.upserted)
    assert third.run(exports=True, **places).summary.embedded == 0, "another machine goes on from the bucket"
    assert third.rows() == plain.rows()
    assert exported(third) == exported(plain)


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_storage_that_throttles_fails_and_cuts_answers_loses_nothing(cluster, storage, tmp_path, method):
    plain, ray = (SmallShop(tmp_path / name) for name in ("plain", "ray"))
    for shop in (plain, ray):
        mixed(shop)
    store = f"s3://{BUCKET}/faulty-{method}"
    storage.fail("503", "cut", "500", "503", method=method, part=f"faulty-{method}")
    first, second = plain.run().summary, on_ray(ray, store=store).summary
    assert [getattr(first, name) for name in OF_THE_RUN] == [getattr(second, name) for name in OF_THE_RUN]
    assert ray.rows() == plain.rows()
    again = on_ray(ray, store=store).summary
    assert (again.embedded, again.upserted) == (0, 0)
    assert not storage.faults


def test_storage_that_refuses_ends_the_run_in_a_line_and_the_next_one_goes_on(cluster, storage, tmp_path):
    shop = SmallShop(tmp_path)
    mixed(shop)
    store = f"s3://{BUCKET}/refused"
    storage.fail(*["403"] * 10_000, method="PUT", part="refused")
    try:
        with pytest.raises(StorageError, match=r"s3://vectors/refused/\S+: cannot be written \(.*[Aa]ccess.?[Dd]enied"):
            on_ray(shop, store=store)
    finally:
        storage.faults.clear()
    assert shop.rows() == {}
    summary = on_ray(shop, store=store).summary
    assert summary.upserted + summary.skipped == summary.products > MIXED


def test_vectors_in_the_store_fill_another_collection_by_the_workers(
    cluster, storage, tmp_path, milvus_uri, collection_name
):
    """Without the model: the encoder dies at the first image."""
    shop = SmallShop(tmp_path, milvus_uri, schema=contract_in(tmp_path, collection_name), store=f"s3://{BUCKET}/filled")
    shop.stock(stock(MIXED))
    first = on_ray(shop).summary
    rows = shop.rows(collection_name)
    with closing(MilvusClient(uri=milvus_uri)) as client:
        client.drop_alias(collection_name)
        client.drop_collection(first.collection)
    again = on_ray(shop, DiesOnce(mark=tmp_path / "asked for the model")).summary
    assert (again.embedded, again.upserted) == (0, first.upserted)
    assert shop.rows(collection_name) == rows
    assert not (tmp_path / "asked for the model").exists()


def test_another_model_fills_another_collection_and_then_the_alias_moves(cluster, tmp_path):
    shop = SmallShop(tmp_path)
    shop.stock(stock(60))
    first = on_ray(shop).summary
    second = on_ray(shop, model="model-2").summary
    assert (second.embedded, second.upserted) == (first.embedded, first.upserted)
    assert first.served == first.collection != second.collection == second.served


def test_workers_write_the_same_rows_to_a_server_as_one_machine(cluster, tmp_path, milvus_uri, collection_name):
    schema = contract_in(tmp_path, collection_name)
    plain = SmallShop(tmp_path / "plain")
    ray = SmallShop(tmp_path / "ray", milvus_uri, schema=schema, upsert_parallelism=2)
    for shop in (plain, ray):
        mixed(shop)

    def both_run(**changes: object) -> None:
        first, second = plain.run(**changes).summary, on_ray(ray, **changes).summary
        assert [getattr(first, name) for name in OF_THE_RUN] == [getattr(second, name) for name in OF_THE_RUN]
        # Blocks in progress at the same time do not know that they share an image.
        assert first.embedded <= second.embedded <= second.upserted
        rows = ray.rows(collection_name)
        assert rows == plain.rows()
        with closing(MilvusClient(uri=milvus_uri)) as client:
            (counted,) = client.query(
                collection_name, filter="", output_fields=["count(*)"], consistency_level="Strong"
            )
        assert counted["count(*)"] == len(rows)

    both_run()
    both_run()
    for shop in (plain, ray):
        products = stock(MIXED - 20)
        products |= {f"P{n:03d}": (n + (n == 1), f"Product {n}!") for n in range(3)}
        shop.stock(products)
    both_run(prune=True)
    assert plain.report()["deleted"] == 20
