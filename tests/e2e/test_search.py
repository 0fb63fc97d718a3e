"""`ingest search` asks the collection, or the FAISS files, by text, by picture, or by another product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.http_server import Answer, Server
from support.shop import Shop, sample_products

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.conftest import Finished

FIELDS = ["product_id", "score", "title", "category", "colour", "price", "brand", "image"]
PRODUCT = "P0001"


@pytest.fixture(scope="module")
def title() -> str:
    return sample_products(1)[0]["title"]


@pytest.fixture(scope="module")
def by_text(finished: Finished, title: str) -> list[dict[str, Any]]:
    return finished.shop.search(title)


def test_hits_carry_id_score_and_the_metadata_best_first(by_text: list[dict[str, Any]]) -> None:
    scores = [hit["score"] for hit in by_text]

    assert len(by_text) == 10
    assert all(list(hit) == FIELDS for hit in by_text)
    assert scores == sorted(scores, reverse=True)
    assert all(-1 <= score <= 1.000001 for score in scores)


def test_a_products_own_title_finds_its_kind(by_text: list[dict[str, Any]]) -> None:
    assert by_text[0]["category"] == sample_products(1)[0]["category"]


def test_faiss_gives_the_same_first_hits_for_a_text(
    finished: Finished, title: str, by_text: list[dict[str, Any]]
) -> None:
    hits = finished.shop.search(title, "--backend", "faiss", "--limit", "3")

    assert [hit["product_id"] for hit in hits] == [hit["product_id"] for hit in by_text[:3]]
    assert [hit["score"] for hit in hits] == pytest.approx([hit["score"] for hit in by_text[:3]], abs=1e-5)
    assert all(list(hit) == ["product_id", "score"] for hit in hits)


def test_a_picture_finds_itself_first(finished: Finished) -> None:
    hits = finished.shop.search("--image", f"images/{PRODUCT}.jpg", "--limit", "2")

    assert hits[0]["product_id"] == PRODUCT
    assert hits[0]["score"] == pytest.approx(1, abs=1e-3)
    assert hits[1]["score"] < hits[0]["score"]


def test_a_product_finds_others_than_itself_alike_in_both_backends(finished: Finished) -> None:
    milvus = finished.shop.search("--product", PRODUCT)
    faiss = finished.shop.search("--product", PRODUCT, "--backend", "faiss")

    assert len(milvus) == 10
    assert PRODUCT not in {hit["product_id"] for hit in milvus}
    assert [hit["product_id"] for hit in faiss] == [hit["product_id"] for hit in milvus]


def test_a_limit_bounds_the_hits(finished: Finished) -> None:
    assert len(finished.shop.search("--product", PRODUCT, "--limit", "3")) == 3
    assert len(finished.shop.search("--product", PRODUCT, "--limit", "1000")) == 39


def test_a_filter_narrows_the_hits(finished: Finished) -> None:
    cheap = {product["product_id"] for product in sample_products(40) if float(product["price"]) < 20} - {PRODUCT}

    hits = finished.shop.search("--product", PRODUCT, "--filter", "price < 20", "--limit", "100")

    assert {hit["product_id"] for hit in hits} == cheap


def test_a_mixture_lies_between_its_parts(finished: Finished) -> None:
    hits = finished.shop.search("--image", f"images/{PRODUCT}.jpg", "--product", "P0002", "--product-weight", "0.5")
    scores = {hit["product_id"]: hit["score"] for hit in hits}

    assert hits[0]["product_id"] == PRODUCT
    assert scores[PRODUCT] < 0.999
    assert "P0002" not in scores


def test_a_picture_is_fetched_by_its_url_and_kept_nowhere(finished: Finished) -> None:
    server = Server()
    try:
        url = server.serve("/a.jpg", Answer((finished.shop.images / f"{PRODUCT}.jpg").read_bytes()))
        hits = finished.shop.search("--image", url, "--limit", "1", "--allow-host", "127.0.0.1")
    finally:
        server.stop()

    assert hits[0]["product_id"] == PRODUCT
    assert hits[0]["score"] == pytest.approx(1, abs=1e-3)


def test_queries_of_a_file_are_answered_apart_and_shown_in_one_sheet(shop: Shop) -> None:
    (shop.folder / "q.csv").write_text(f"name,product_id,image,limit\nfirst,{PRODUCT},,2\n,,images/P0002.jpg,\n")

    found = shop.search("--queries", "q.csv", "--limit", "3", "--html", "found.html")

    assert [(one["query"], len(one["hits"])) for one in found] == [("first", 2), ("images/P0002.jpg", 3)]
    assert found[1]["hits"][0]["product_id"] == "P0002"
    page = (shop.folder / "found.html").read_text(encoding="utf-8")
    assert page.count("<li>") == 5
    assert page.count('src="data:image/jpeg;base64,') == 6, "five hits and the picture asked for"


def test_csv_has_a_rank_and_what_the_hits_have(finished: Finished) -> None:
    ended = finished.shop.ingest("search", "--product", PRODUCT, "--limit", "2", "--csv")

    lines = ended.out.splitlines()
    assert lines[0] == "rank,product_id,score,title,category,colour,price,brand,image"
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2"]


def test_nothing_found_is_an_empty_array_and_a_word_to_people(finished: Finished) -> None:
    nothing = ("--product", PRODUCT, "--filter", 'brand == "nobody"')

    assert finished.shop.search(*nothing) == []
    ended = finished.shop.ingest("search", *nothing)
    assert (ended.code, ended.out) == (0, "nothing found\n")


def test_people_get_a_table(finished: Finished) -> None:
    ended = finished.shop.ingest("search", "--product", PRODUCT, "--limit", "2")

    lines = ended.out.splitlines()
    assert ended.said == []
    assert lines[0].split() == ["score", "product_id", "title", "category", "colour", "price", "brand"]
    assert len(lines) == 3


BAD_QUERIES = {
    "nothing asked": ([], 2, "TEXT"),
    "two texts": (["mug", "--text", "pot"], 2, "--text"),
    "a file and a text": (["mug", "--queries", "q.csv"], 2, "--queries"),
    "two ways to print": (["--product", PRODUCT, "--json", "--csv"], 2, "--csv"),
    "a mixture of nothing": (["--product", PRODUCT, "--product-weight", "0"], 3, "weights"),
    "no file of queries": (["--queries", "q.csv"], 3, "q.csv"),
    "a picture on a private address": (["--image", "http://127.0.0.1:9/a.jpg"], 3, "--allow-host 127.0.0.1"),
    "a filter on FAISS": (["--product", PRODUCT, "--backend", "faiss", "--filter", "price < 20"], 2, "--filter"),
    "no such backend": (["mug", "--backend", "annoy"], 2, "annoy"),
    "a limit of nothing": (["mug", "--limit", "0"], 2, "--limit"),
    "a filter with a mistake": (["--product", PRODUCT, "--filter", "price <"], 3, "price (DOUBLE)"),
    "no such product": (["--product", "nobody"], 3, "nobody"),
    "no such product in FAISS": (["--product", "nobody", "--backend", "faiss"], 3, "nobody"),
    "a model that is not there": (["mug", "--model", "./nowhere"], 6, "nowhere"),
    "no collection": (["--product", PRODUCT, "--uri", "other.db"], 5, "ingest run"),
    "no server": (["--product", PRODUCT, "--uri", "http://127.0.0.1:9"], 5, "127.0.0.1:9"),
}


@pytest.mark.parametrize(("arguments", "code", "told"), BAD_QUERIES.values(), ids=BAD_QUERIES)
def test_a_question_that_cannot_be_answered_says_why(
    finished: Finished, arguments: list[str], code: int, told: str
) -> None:
    ended = finished.shop.ingest("search", *arguments)

    assert (ended.code, ended.out) == (code, "")
    assert told in ended.said[-1]
    assert code == 2 or len(ended.said) == 1, "usage errors show the usage, all others are one line"


def test_an_unknown_field_in_a_filter_finds_nothing_where_other_columns_are_kept(finished: Finished) -> None:
    """It may be a column that some products have, so Milvus does not take it for a mistake."""
    ended = finished.shop.ingest("search", "--product", PRODUCT, "--filter", 'colur == "red"', "--json")

    assert ended.json == []
    assert len(ended.said) == 1
    assert "colur is not a field of the contract (did you mean colour?)" in ended.said[0]


@pytest.mark.parametrize("backend", ["milvus", "faiss"])
def test_another_model_than_the_collections_is_refused(finished: Finished, other_model: Path, backend: str) -> None:
    ended = finished.shop.ingest("search", "mug", "--model", other_model, "--backend", backend)

    assert (ended.code, ended.out) == (6, "")
    assert len(ended.said) == 1
    assert "built with" in ended.said[0]


def test_a_file_that_is_no_picture_is_refused(finished: Finished) -> None:
    ended = finished.shop.ingest("search", "--image", "ingest.toml")

    assert (ended.code, ended.out) == (3, "")
    assert len(ended.said) == 1
    assert "ingest.toml" in ended.said[0]


def test_before_the_first_run_there_is_nothing_to_ask(new_shop: Shop) -> None:
    for backend, code in (("milvus", 5), ("faiss", 3)):
        ended = new_shop.ingest("search", "--product", PRODUCT, "--backend", backend)
        assert ended.code == code
        assert len(ended.said) == 1
    assert not new_shop.data.exists(), "asking makes nothing"
