"""`ingest recommend` and `ingest evaluate` on a shop whose run is done."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import csv, parquet
from support.shop import ROOT, sample_products

if TYPE_CHECKING:
    from support.shop import Shop

    from e2e.conftest import Finished

PRODUCT = "P0001"
CATEGORIES = {row["product_id"]: row["category"] for row in sample_products(40)}


def recommended(shop: Shop, *arguments: str) -> list[dict[str, Any]]:
    ended = shop.ingest("recommend", "--json", *arguments)
    assert ended.code == 0, ended.err
    hits: list[dict[str, Any]] = ended.json
    return hits


def test_a_basket_gets_others_of_another_category(finished: Finished) -> None:
    hits = recommended(finished.shop, PRODUCT, "P0002", "--other", "category", "--diverse", "--limit", "5")

    assert len(hits) == 5
    assert not {hit["category"] for hit in hits} & {CATEGORIES[PRODUCT], CATEGORIES["P0002"]}


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_all_products_get_theirs_in_one_file(shop: Shop, name: str) -> None:
    ended = shop.ingest("recommend", "--all", "--same", "category", "--limit", "3", "--out", name, "--json")

    assert ended.code == 0, ended.err
    table = (parquet.read_table if name.endswith("parquet") else csv.read_csv)(shop.folder / name)
    assert table.column_names == ["product_id", "rank", "other_id", "score"]
    rows = table.to_pylist()
    assert ended.json["rows"] == len(rows) > 20
    assert all(CATEGORIES[row["product_id"]] == CATEGORIES[row["other_id"]] for row in rows)
    assert all(row["product_id"] != row["other_id"] and 1 <= row["rank"] <= 3 for row in rows)


BAD = {
    "nothing": (["recommend"], 2, "--all"),
    "all and one": (["recommend", PRODUCT, "--all", "--out", "o.csv"], 2, "--all"),
    "all without a file": (["recommend", "--all"], 2, "--out"),
    "all with a filter": (["recommend", "--all", "--out", "o.csv", "--filter", "price < 3"], 2, "--all works with"),
    "nobody": (["recommend", "nobody"], 3, "nobody"),
    "no such field": (["recommend", PRODUCT, "--same", "color"], 3, "did you mean colour"),
    "another ending": (["recommend", "--all", "--out", "o.txt"], 3, ".parquet"),
    "a plot of another kind": (["evaluate", "--plot", "x.pdf"], 3, ".png or .svg"),
    "no numbers": (["evaluate", "--ef", "some"], 2, "commas"),
    "no percentage": (["evaluate", "--selectivity", "1,100"], 2, "percentages"),
    "an ef for a collection that is not measured": (["evaluate", "--apply", "--backend", "faiss"], 2, "--apply sets"),
    "too few products": (["evaluate", "--k", "40"], 3, "--k 40"),
}


@pytest.mark.parametrize(("arguments", "code", "told"), BAD.values(), ids=BAD)
def test_what_cannot_be_done_says_why(finished: Finished, arguments: list[str], code: int, told: str) -> None:
    ended = finished.shop.ingest(*arguments)

    assert (ended.code, ended.out) == (code, "")
    assert told in ended.said[-1]
    assert code == 2 or len(ended.said) == 1


def test_an_applied_ef_stands_in_the_collection_and_no_file_is_changed(shop: Shop) -> None:
    shutil.copy(ROOT / "schema" / "products.toml", shop.folder / "own.toml")
    options = ("--schema", "own.toml", "--queries", "20", "--k", "3", "--ef", "33,70", "--json")

    ended = shop.ingest("evaluate", *options, "--target-recall", "0.5", "--labels", "category", "--apply",
                        "--plot", "curves.svg")  # fmt: skip

    assert ended.code == 0, ended.err
    assert ended.json["smallest_ef"] == 33
    assert {row["where"] for row in ended.json["rows"]} == {"collection", "faiss"}
    assert {one["label"] for one in ended.json["precisions"]} <= set(CATEGORIES.values())
    assert (shop.folder / "curves.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")
    assert (shop.folder / "own.toml").read_bytes() == (ROOT / "schema" / "products.toml").read_bytes()
    own = (shop.folder / "own.toml").read_text(encoding="utf-8")
    (shop.folder / "own.toml").write_text(own.replace("ef = 64 ", "ef = 128 "), encoding="utf-8")
    summary = shop.run("--schema", "own.toml")
    assert (summary["upserted"], summary["unchanged"]) == (0, 40), "no new collection for another ef"
    [release] = shop.ingest("collections", "--schema", "own.toml", "--json").json
    assert (release["ef"], release["ef_schema"], release["ef_measured"]) == (33, 128, 33)
    verdict = shop.ingest("verify", "--schema", "own.toml", "--json").json
    assert (verdict["ef"], verdict["ef_schema"], verdict["ef_measured"]) == (33, 128, 33)

    ended = shop.ingest("evaluate", *options, "--target-recall", "1.0", "--k", "30", "--ef", "1", "--backend", "faiss")
    assert ended.code == 0, ended.err
