"""`ingest run` brings the collection in step with the catalog, whatever changed since the last time."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from PIL import Image, ImageOps
from support.http_server import Answer, Server
from support.shop import BATCH, COMMAND, ROOT, Shop, client_of, copied_sample_model, run_in, sample_products, write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.conftest import Finished

PRODUCTS = 40
KEYS = {"products", "embedded", "upserted", "deleted", "unchanged", "skipped", "seconds", "stages"}
STAGES = ["catalog", "images", "decode", "embedding", "store", "milvus"]


def counts(summary: dict[str, object]) -> tuple[object, ...]:
    return tuple(summary[key] for key in ("products", "embedded", "upserted", "unchanged", "skipped"))


def test_a_first_run_embeds_and_upserts_every_product(finished: Finished) -> None:
    shop, summary = finished

    assert counts(summary) == (PRODUCTS, PRODUCTS, PRODUCTS, 0, 0)
    assert summary.keys() >= KEYS
    assert list(summary["stages"]) == STAGES
    assert [stage["items"] for stage in summary["stages"].values()] == [PRODUCTS] * len(STAGES)
    ended = [stage["seconds"] for stage in summary["stages"].values()]
    assert 0 < ended[0] <= ended[-1] <= summary["seconds"], "from the start to the last row acknowledged"
    report = shop.folder / summary["places"]["report"]
    started = datetime.fromisoformat(json.loads(report.read_text(encoding="utf-8"))["started"]).timestamp()
    assert summary["seconds"] <= report.stat().st_mtime - started + 1, (
        "the report is begun in a second and ends the run"
    )
    assert set(shop.rows()) == {product["product_id"] for product in sample_products(PRODUCTS)}


def test_rows_carry_the_catalog_in_its_types_and_a_unit_vector(finished: Finished) -> None:
    row = finished.shop.rows()["P0001"]
    product = sample_products(1)[0]

    assert {name: row[name] for name in ("title", "category", "colour", "brand", "image")} == {
        name: product[name] for name in ("title", "category", "colour", "brand", "image")
    }
    assert row["price"] == float(product["price"])
    assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-5)


def test_a_run_writes_the_exports_in_catalog_order(finished: Finished) -> None:
    shop = finished.shop
    vectors = np.load(shop.npy)
    ids = json.loads(shop.npy_ids.read_text(encoding="utf-8"))
    rows = shop.rows()

    assert ids == [product["product_id"] for product in sample_products(PRODUCTS)]
    assert (vectors.dtype, len(vectors)) == (np.float32, PRODUCTS)
    assert np.array_equal(vectors, np.array([rows[product_id]["embedding"] for product_id in ids], np.float32))
    stem = f"hnsw_clip_{vectors.shape[1]}"
    files = {path.name for path in (shop.data / "indexes").iterdir()}
    assert files >= {f"{stem}.faiss", f"{stem}.pkl", f"{stem}_product_ids.json"}


def test_a_run_leaves_a_report_and_a_table_of_the_skipped(finished: Finished) -> None:
    shop, summary = finished
    report = json.loads((shop.folder / summary["places"]["report"]).read_text(encoding="utf-8"))

    assert {key: report[key] for key in KEYS} == {key: summary[key] for key in KEYS}
    assert report["outcome"] == "done"
    assert report["catalog"] == "products.csv"
    assert (shop.folder / summary["places"]["report"]).with_name("skipped.csv").read_text(encoding="utf-8") == (
        "product_id,stage,reason,detail,line,file\n"
    )


def test_a_second_run_embeds_nothing_and_upserts_nothing(shop: Shop) -> None:
    before = shop.exports

    assert counts(shop.run()) == (PRODUCTS, 0, 0, PRODUCTS, 0)
    assert shop.exports == before


def test_without_json_a_run_says_what_it_did_and_searches_to_try_that_work(shop: Shop) -> None:
    ended = shop.ingest("run")

    assert ended.code == 0
    assert f"{PRODUCTS} products: 0 embedded, 0 skipped, 0 upserted, {PRODUCTS} unchanged" in ended.out
    assert ended.said == []
    by_product = next(line for line in ended.out.splitlines() if " --product " in line)
    assert run_in(shop.folder, [COMMAND, *by_product.split()[1:]]).code == 0


def test_a_sample_model_is_said_to_be_one(new_shop: Shop, tmp_path: Path) -> None:
    sample = copied_sample_model(tmp_path / "model")
    config = json.loads((sample / "config.json").read_text(encoding="utf-8"))
    (sample / "config.json").write_text(json.dumps({**config, "ingest_sample": True}), encoding="utf-8")
    new_shop.stock(sample_products(1))

    ended = new_shop.ingest("embed", "--model", sample)

    assert "is a sample model" in ended.err
    assert "--model openai/clip-vit-base-patch32" in ended.err
    assert ended.said == []
    assert new_shop.ingest("embed", "--model", sample, "--quiet").err == ""


def test_changed_metadata_alone_is_upserted_without_embedding(shop: Shop) -> None:
    products = sample_products(PRODUCTS)
    products[3]["price"] = "0.95"
    products[4]["title"] = "A thing quite renamed"
    shop.stock(products)

    assert counts(shop.run()) == (PRODUCTS, 0, 2, PRODUCTS - 2, 0)
    rows = shop.rows()
    assert rows["P0004"]["price"] == 0.95
    assert rows["P0005"]["title"] == "A thing quite renamed"


def test_a_changed_picture_is_embedded_again(shop: Shop) -> None:
    before = shop.rows()
    picture = shop.images / "P0002.jpg"
    with Image.open(picture) as image:
        ImageOps.flip(image).save(picture)

    assert counts(shop.run()) == (PRODUCTS, 1, 1, PRODUCTS - 1, 0)
    after = shop.rows()
    assert after["P0002"]["image_sha256"] != before["P0002"]["image_sha256"]
    assert after["P0002"]["embedding"] != before["P0002"]["embedding"]
    assert np.array_equal(np.load(shop.npy)[1], np.array(after["P0002"]["embedding"], np.float32))


def test_a_product_that_takes_over_anothers_picture_takes_over_its_vector(shop: Shop) -> None:
    products = sample_products(PRODUCTS)
    before = shop.rows()
    products[0]["image"], products[1]["image"] = products[1]["image"], products[0]["image"]
    shop.stock(products)

    assert counts(shop.run()) == (PRODUCTS, 0, 2, PRODUCTS - 2, 0)
    after = shop.rows()
    assert after["P0001"]["embedding"] == before["P0002"]["embedding"]
    assert after["P0002"]["embedding"] == before["P0001"]["embedding"]


def test_a_product_that_left_the_catalog_is_counted_and_its_row_left(shop: Shop) -> None:
    shop.stock(sample_products(PRODUCTS)[:-3])

    summary = shop.run()

    assert counts(summary) == (PRODUCTS - 3, 0, 0, PRODUCTS - 3, 0)
    assert (summary["gone"], summary["deleted"]) == (3, 0)
    assert len(shop.rows()) == PRODUCTS
    assert len(np.load(shop.npy)) == PRODUCTS - 3


def test_a_renamed_product_is_not_embedded_again(shop: Shop) -> None:
    products = sample_products(PRODUCTS)
    products[7]["product_id"] = "renamed"
    shop.stock(products)

    summary = shop.run()

    assert counts(summary) == (PRODUCTS, 0, 1, PRODUCTS - 1, 0)
    assert summary["gone"] == 1
    rows = shop.rows()
    assert rows["renamed"]["embedding"] == rows["P0008"]["embedding"]


def test_a_catalog_gives_the_same_digests_in_every_format(shop: Shop) -> None:
    table = pd.read_csv(shop.folder / "products.csv", dtype={"product_id": str})
    table.to_csv(shop.folder / "products.tsv", sep="\t", index=False)
    table.to_json(shop.folder / "products.jsonl", orient="records", lines=True)
    table.to_parquet(shop.folder / "products.parquet")

    for name in ("products.tsv", "products.jsonl", "products.parquet"):
        # Rows are left alone where their digest is the same, so nothing to do means that all are.
        assert counts(shop.run("--catalog", name)) == (PRODUCTS, 0, 0, PRODUCTS, 0), name


def test_a_deleted_store_is_filled_again_from_the_collection(shop: Shop) -> None:
    before = shop.exports
    shutil.rmtree(shop.data / "embeddings")

    assert counts(shop.run()) == (PRODUCTS, 0, 0, PRODUCTS, 0)
    assert shop.exports == before


def test_a_deleted_collection_is_filled_again_from_the_store(shop: Shop) -> None:
    before = shop.digests()
    shutil.rmtree(shop.data / "milvus.db")

    assert counts(shop.run()) == (PRODUCTS, 0, PRODUCTS, 0, 0)
    assert shop.digests() == before


def test_deleted_reports_cache_and_exports_cost_no_embedding(shop: Shop) -> None:
    before = shop.exports
    for name in ("runs", "image_cache", "indexes"):
        shutil.rmtree(shop.data / name)
    shop.npy.unlink()

    assert counts(shop.run()) == (PRODUCTS, 0, 0, PRODUCTS, 0)
    assert shop.exports == before


def test_without_exports_only_the_collection_is_filled(new_shop: Shop) -> None:
    new_shop.stock(sample_products(BATCH))

    new_shop.run("--no-exports")

    assert len(new_shop.rows()) == BATCH
    assert not new_shop.npy.exists()
    assert not (new_shop.data / "indexes").exists()


def test_a_sample_takes_the_first_products_and_a_later_run_the_rest(shop: Shop) -> None:
    shutil.rmtree(shop.data / "milvus.db")

    first = shop.run("--sample", "6")
    assert counts(first) == (6, 0, 6, 0, 0)
    assert set(shop.rows()) == {product["product_id"] for product in sample_products(6)}
    assert len(np.load(shop.npy.with_name("clip_embeddings_sample.npy"))) == 6
    assert len(np.load(shop.npy)) == PRODUCTS, "the full files are of the run before"

    assert counts(shop.run("--sample", "0")) == (PRODUCTS, 0, PRODUCTS - 6, 6, 0)
    assert len(np.load(shop.npy)) == PRODUCTS


ODD_IDS = [
    'O\'Brien "7"',
    "back\\slash",
    "ünïcødé-日本-🫖",
    "00042",
    "42",
    "a,b;c\td".replace("\t", " "),
    "../../etc/passwd",
]


@pytest.fixture(scope="module")
def odd(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, dict[str, object]]:
    """Run once over odd ids, shared pictures, and every kind of row and picture that cannot go on."""
    shop = Shop(tmp_path_factory.mktemp("odd") / "shop", model)
    sample = sample_products(len(ODD_IDS) + 3)
    products = [{**product, "product_id": name} for product, name in zip(sample, ODD_IDS, strict=False)]
    shared = sample[len(ODD_IDS)]
    products += [{**shared, "product_id": "twin-1"}, {**shared, "product_id": "twin-2"}]
    products.append({**shared, "product_id": "twin-3", "image": "images/the-same.jpg"})
    last = sample[len(ODD_IDS) + 1]
    products += [
        {**last, "product_id": ""},
        {**last, "product_id": "é" * 65},
        {**last, "product_id": "00042"},
        {**last, "product_id": "no-image", "image": ""},
        {**last, "product_id": "no-price", "price": "cheap"},
        {**last, "product_id": "missing", "image": "images/nowhere.jpg"},
        {**last, "product_id": "text", "image": "images/text.jpg"},
        {**last, "product_id": "torn", "image": "images/torn.jpg"},
        {**last, "product_id": "remote", "image": "http://127.0.0.1:9/P.jpg"},
    ]
    shop.stock(products)
    shutil.copy(shop.folder / shared["image"], shop.images / "the-same.jpg")
    (shop.images / "text.jpg").write_text("not a picture at all, " * 100, encoding="utf-8")
    (shop.images / "torn.jpg").write_bytes((shop.folder / shared["image"]).read_bytes()[:900])
    return shop, shop.run()


def test_every_product_that_cannot_go_on_is_told_with_stage_reason_and_line(
    odd: tuple[Shop, dict[str, object]],
) -> None:
    shop, summary = odd
    first = len(ODD_IDS) + 3 + 2  # the header is line 1
    expected = [
        ("", "catalog", "no id"),
        ("é" * 65, "catalog", "id too long"),
        ("00042", "catalog", "duplicate id"),
        ("no-image", "catalog", "no image"),
        ("no-price", "catalog", "bad metadata"),
        ("missing", "images", "not found"),
        ("text", "decode", "not an image"),
        ("torn", "decode", "truncated"),
        ("remote", "images", "not downloaded"),
    ]

    told = [(row["product_id"], row["stage"], row["reason"], int(row["line"])) for row in shop.skipped(summary)]

    assert sorted(told) == sorted((*entry, first + number) for number, entry in enumerate(expected))
    assert all(row["detail"] for row in shop.skipped(summary))
    assert summary["skipped"] == len(expected)
    assert summary["products"] == len(ODD_IDS) + 3 + len(expected)


def test_a_picture_that_products_share_is_embedded_once(odd: tuple[Shop, dict[str, object]]) -> None:
    shop, summary = odd
    rows = shop.rows()

    assert (summary["embedded"], summary["upserted"]) == (len(ODD_IDS) + 1, len(ODD_IDS) + 3)
    assert rows["twin-1"]["embedding"] == rows["twin-2"]["embedding"] == rows["twin-3"]["embedding"]


def test_ids_land_as_they_are_written(odd: tuple[Shop, dict[str, object]]) -> None:
    shop, _ = odd

    assert set(shop.rows()) == {*ODD_IDS, "twin-1", "twin-2", "twin-3"}


@pytest.mark.parametrize("product_id", ODD_IDS)
def test_products_are_found_by_odd_ids(odd: tuple[Shop, dict[str, object]], product_id: str) -> None:
    shop, _ = odd

    hits = shop.search("--product", product_id, "--limit", "20")

    assert {hit["product_id"] for hit in hits} == {*ODD_IDS, "twin-1", "twin-2", "twin-3"} - {product_id}


def test_odd_products_are_in_place_the_second_time(odd: tuple[Shop, dict[str, object]], tmp_path: Path) -> None:
    shop = odd[0].copied_to(tmp_path / "shop")

    summary = shop.run()

    assert (summary["embedded"], summary["upserted"], summary["unchanged"]) == (0, 0, len(ODD_IDS) + 3)


def test_too_many_skipped_is_done_and_exit_code_4(odd: tuple[Shop, dict[str, object]], tmp_path: Path) -> None:
    shop = odd[0].copied_to(tmp_path / "shop")

    assert shop.ingest("run", "--max-skipped", "9").code == 0
    ended = shop.ingest("run", "--json", "--max-skipped", "8")

    assert ended.code == 4
    assert len(ended.said) == 1
    assert "9 of 19 products were skipped" in ended.said[0]
    assert "skipped.csv" in ended.said[0]
    assert ended.json["skipped"] == 9


def test_a_first_build_with_too_many_skipped_is_kept_but_not_served(
    odd: tuple[Shop, dict[str, object]], tmp_path: Path
) -> None:
    shop = odd[0].copied_to(tmp_path / "shop")
    shutil.rmtree(shop.data / "milvus.db")

    ended = shop.ingest("run", "--json", "--max-skipped", "8")

    assert ended.code == 10
    assert "products serves nothing" in ended.json["failure"]
    assert (ended.json["served"], ended.json["places"]["collection"].split()[:3]) == (
        None, ["products", "serves", "nothing;"],
    )  # fmt: skip
    assert len(shop.unserved_rows()) == len(ODD_IDS) + 3
    assert shop.run("--max-skipped", "9")["upserted"] == 0
    assert len(shop.rows()) == len(ODD_IDS) + 3


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def test_pictures_are_fetched_once(new_shop: Shop, server: Server) -> None:
    products = sample_products(6)
    for product in products[:-1]:
        picture = (ROOT / "data" / product["image"]).read_bytes()
        product["image"] = server.serve(f"/{product['product_id']}", Answer(picture))
    products[-1]["image"] = server.url("/gone.jpg")
    new_shop.stock(products)

    without = new_shop.ingest("run", "--json", "--no-exports")
    assert without.code == 10
    assert "--download-missing" in without.said[-1]
    assert counts(without.json) == (6, 0, 0, 0, 6)
    assert server.requests == []

    first = new_shop.run("--download-missing", "--allow-private")
    assert counts(first) == (6, 5, 5, 0, 1)
    assert [(row["product_id"], row["reason"]) for row in new_shop.skipped(first)] == [("P0006", "not found")]
    assert sorted(path.name for path in (new_shop.data / "image_cache").glob("*.jpg")) == [
        f"P000{number}.jpg" for number in range(1, 6)
    ]

    asked = server.asked("/P0001")
    assert counts(new_shop.run("--download-missing", "--allow-private")) == (6, 0, 0, 5, 1)
    assert server.asked("/P0001") == asked == 1


def test_a_usage_error_exits_2(shop: Shop) -> None:
    for arguments in (["--batch-size", "0"], ["--no-such-option"], ["unasked"], ["--dtype", "int8"]):
        ended = shop.ingest("run", *arguments)
        assert ended.code == 2, arguments
        assert "Traceback" not in ended.err


BAD_INPUT = {
    "no catalog": (["--catalog", "nowhere.csv"], "nowhere.csv"),
    "an unknown ending": (["--catalog", "products.xlsx"], "products.xlsx"),
    "an empty catalog": (["--catalog", "empty.csv"], "empty.csv"),
    "only a header": (["--catalog", "header.csv"], "header.csv"),
    "no such column": (["--image-column", "picture"], "picture"),
    "not UTF-8": (["--catalog", "latin.csv"], "latin.csv"),
    "a key that does not exist": (["--config", "typo.toml"], "typo.toml line 2"),
    "broken TOML": (["--config", "broken.toml"], "broken.toml"),
    "no contract": (["--schema", "nowhere.toml"], "nowhere.toml"),
    "a broken contract": (["--schema", "typo.toml"], "typo.toml"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_one_line_and_exit_code_3(shop: Shop, arguments: list[str], named: str) -> None:
    (shop.folder / "empty.csv").write_bytes(b"")
    (shop.folder / "header.csv").write_text("product_id,image\n", encoding="utf-8")
    (shop.folder / "latin.csv").write_bytes("product_id,image\né,images/P0001.jpg\n".encode("latin-1"))
    (shop.folder / "typo.toml").write_text('data = "data"\nbatchsize = 4\n', encoding="utf-8")
    (shop.folder / "broken.toml").write_text("data = \n", encoding="utf-8")

    ended = shop.ingest("run", *arguments)

    assert ended.code == 3
    assert len(ended.said) == 1
    assert named in ended.said[0]


MODELS = {
    "no such folder": ("./no-such-model", "no such folder"),
    "not in the cache, and no network": ("openai/clip-vit-base-patch32", "HF_HOME"),
    "an empty folder": ("images", "config.json"),
}


@pytest.mark.parametrize(("name", "told"), MODELS.values(), ids=MODELS)
def test_a_model_that_cannot_be_had_is_one_line_and_exit_code_6(
    shop: Shop, tmp_path: Path, name: str, told: str
) -> None:
    ended = shop.ingest("run", "--model", name, HF_HOME=tmp_path / "hub")

    assert ended.code == 6
    assert len(ended.said) == 1
    assert told in ended.said[0]


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "http://127.0.0.1:abc", "ftp://127.0.0.1", "milvus.sqlite"])
def test_a_milvus_that_is_not_there_is_one_line_and_exit_code_5(shop: Shop, uri: str) -> None:
    ended = shop.ingest("run", "--uri", uri)

    assert ended.code == 5
    assert len(ended.said) == 1
    assert uri.removesuffix("abc") in ended.said[0], "a port that is no number might be a password"


def test_a_second_run_at_the_same_time_is_one_line_and_exit_code_8(shop: Shop) -> None:
    with FileLock(shop.data / ".lock"):
        ended = shop.ingest("run")

    assert ended.code == 8
    assert len(ended.said) == 1
    assert "holds it" in ended.said[0]


def test_a_milvus_lite_file_that_another_process_holds_is_one_line_and_exit_code_8(shop: Shop) -> None:
    with client_of(str(shop.data / "milvus.db")):
        for arguments in (["run"], ["search", "--product", "P0001"]):
            ended = shop.ingest(*arguments)
            assert ended.code == 8
            assert len(ended.said) == 1
            assert "another process has this Milvus Lite file open" in ended.said[0]


def test_columns_may_have_other_names_and_others_are_kept_as_text(shop: Shop) -> None:
    products = [
        {"sku": product["product_id"], "photo": product["image"], "season": f"{number:03d}"}
        for number, product in enumerate(sample_products(3))
    ]
    write_csv(shop.folder / "other.csv", products)

    summary = shop.run("--catalog", "other.csv", "--id-column", "sku", "--image-column", "photo", "--no-exports")

    assert counts(summary) == (3, 0, 3, 0, 0)
    row = shop.rows()["P0003"]
    assert (row["season"], row["title"], row["image"]) == ("002", "", products[2]["photo"])


def test_a_column_that_vanished_from_the_catalog_vanishes_from_the_row(shop: Shop) -> None:
    products = sample_products(PRODUCTS)
    shop.stock([{**product, "season": "summer"} for product in products])
    shop.run()
    assert shop.rows()["P0001"]["season"] == "summer"

    shop.stock(products)
    assert counts(shop.run()) == (PRODUCTS, 0, PRODUCTS, 0, 0)

    assert "season" not in shop.rows()["P0001"]


def test_another_contract_fills_another_collection_from_the_store(shop: Shop) -> None:
    shipped = (ROOT / "schema" / "products.toml").read_text(encoding="utf-8")
    (shop.folder / "contract.toml").write_text(shipped.replace("M = 16 ", "M = 24 "), encoding="utf-8")
    before = shop.digests()

    summary = shop.run("--schema", "contract.toml")

    assert counts(summary) == (PRODUCTS, 0, PRODUCTS, 0, 0)
    assert shop.digests() == before
    assert "moved from" in summary["notes"][0]


def test_another_model_moves_the_alias_when_its_collection_is_complete(shop: Shop, other_model: Path) -> None:
    before = shop.rows()

    partly = shop.run("--model", other_model, "--sample", "4")
    assert partly["embedded"] == 4
    assert "still serves" in partly["notes"][0]
    assert shop.rows() == before

    summary = shop.run("--model", other_model)
    assert counts(summary) == (PRODUCTS, PRODUCTS - 4, PRODUCTS - 4, 4, 0)
    after = shop.rows()
    assert after.keys() == before.keys()
    assert after["P0001"]["row_digest"] != before["P0001"]["row_digest"]

    assert shop.run()["upserted"] == 0, "the old collection is as it was"


def test_resizing_on_the_device_gives_nearly_the_same_vectors_and_the_next_run_nothing_to_do(
    new_shop: Shop, finished: Finished
) -> None:
    new_shop.stock(sample_products(40))
    arguments = ["--resize", "device", "--decode-in", "processes"]
    assert new_shop.run(*arguments)["embedded"] == 40
    assert new_shop.digests() == finished.shop.digests(), "it is the same embedding space"
    theirs = {name: np.array(row["embedding"]) for name, row in finished.shop.rows().items()}
    cosines = [np.array(row["embedding"]) @ theirs[name] for name, row in new_shop.rows().items()]
    assert min(cosines) >= 0.9995
    assert new_shop.run()["embedded"] == 0
