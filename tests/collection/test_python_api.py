"""The functions of `import ingest` on a Milvus Lite file: what they return, and what they raise."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from support.small_shop import FIVE, SmallShop

import ingest
from ingest.cli.main import cli

if TYPE_CHECKING:
    from pathlib import Path


class PythonShop(SmallShop):
    """A small shop whose owner calls the functions."""

    def call(self, name: str, **keywords: Any) -> Any:
        given = {"catalog": self.settings.catalog, "data": self.settings.data, "model": "model-1", **keywords}
        own = {"exports": False} if name in ("run", "plan", "verify") else {}
        with self.faked():
            return getattr(ingest, name)(**own, **given)


@pytest.fixture
def shop(tmp_path: Path) -> PythonShop:
    shop = PythonShop(tmp_path)
    shop.stock(FIVE)
    return shop


def test_a_run_returns_what_the_command_prints_as_json(shop):
    plan = shop.call("plan")
    summary = shop.call("run")
    assert [(one.product_id, one.change, one.fields) for one in plan.changes()] == [
        (name, "added", []) for name in FIVE
    ]
    assert "5 to add" in repr(plan)
    assert (summary.embedded, summary.upserted, summary.added, summary.failure) == (5, 5, 5, "")
    assert repr(summary).startswith("RunSummary(5 products: 5 embedded, 0 skipped, 5 upserted, 0 unchanged in ")

    arguments = ["run", "--json", "--no-exports", "--catalog", shop.settings.catalog, "--data", shop.settings.data]
    with shop.faked():
        printed = json.loads(CliRunner().invoke(cli, [*map(str, arguments), "--model", "model-1"]).stdout)
    assert list(printed) == list(summary.to_dict())
    again = shop.call("run").to_dict()
    varying = {"seconds", "stages", "places"}
    assert {name: again[name] for name in again if name not in varying} == {
        name: printed[name] for name in printed if name not in varying
    }


def test_results_can_be_sent_to_another_process(shop):
    for found in (shop.call("run"), shop.call("verify")):
        assert asdict(pickle.loads(pickle.dumps(found))) == asdict(found)


def test_an_error_is_in_the_words_of_python_and_carries_what_was_done(shop):
    shop.call("run")
    shop.stock({**FIVE, "P9": (None, "broken")})
    with pytest.raises(ingest.TooManySkippedError) as raised:
        shop.call("run", max_skipped=0)
    assert "1 of 6 products were skipped, more than max_skipped=0 allows" in str(raised.value)
    assert raised.value.result.unchanged == 5
    assert raised.value.result.failure == str(raised.value)
    assert "failure: 1 of 6" in repr(raised.value.result)
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (str(copy), copy.result) == (str(raised.value), raised.value.result)


def test_a_plan_raises_what_the_run_would_and_has_the_plan(shop):
    shop.stock({"P9": (None, "broken")})
    with pytest.raises(
        ingest.NotLiveError, match="a run would not go live: the only product could not be used"
    ) as raised:
        shop.call("plan")
    assert raised.value.result.skipped == 1
    assert "1 skipped: not an image" in repr(raised.value.result)
    assert "not an image" in raised.value.result._repr_html_()


def test_settings_without_effect_are_refused_and_nothing_is_begun(shop):
    with pytest.raises(ingest.ConfigError, match=r"^`actors` works with engine='ray' only$"):
        shop.call("run", actors=2)
    with pytest.raises(ingest.ConfigError, match=r"^`bulk_path` works with `bulk_folder` only$"):
        shop.call("run", bulk_path="x")
    with pytest.raises(ingest.ConfigError, match="`output` and `meta` both name"):
        shop.call("embed", output=shop.folder / "x", meta=shop.folder / "x")
    assert not shop.settings.data.exists()


def test_a_verification_that_finds_a_difference_raises_and_can_repair(shop):
    shop.call("run")
    with shop.client() as client:
        client.delete("products", ids=["P1"])
    with pytest.raises(ingest.VerificationError, match=r"repair with: ingest.verify\(..., repair=True\)") as raised:
        shop.call("verify")
    assert [found.name for found in raised.value.result.differing] == ["P1"]
    assert "P1" in repr(raised.value.result)
    assert "P1" in raised.value.result._repr_html_()

    verdict = shop.call("verify", repair=True)
    assert (verdict.rows, verdict.differing) == (5, [])
    assert repr(verdict).startswith("Verdict(products_")
    assert set(shop.rows()) == set(FIVE)


def test_embed_export_and_fetch_return_what_they_did(shop):
    files = {"output": shop.folder / "x.npy", "meta": shop.folder / "x.json"}
    assert shop.call("embed", **files).places["vectors"] == str(files["output"])
    assert json.loads(files["meta"].read_text()) == list(FIVE)
    assert shop.call("export").unchanged == 5
    with shop.faked():
        fetched = ingest.fetch(shop.settings.catalog, data=shop.settings.data)
    assert (fetched.products, fetched.pictures) == (5, 5)
    assert repr(fetched).startswith("FetchResult(5 products: 5 images available, 0 skipped in ")
    assert "images" in fetched._repr_html_()


def test_products_are_found_like_others_and_filters_are_checked(shop):
    shop.call("run")
    with ingest.connect(data=shop.settings.data, catalog=shop.settings.catalog) as products:
        assert len(products) == 5
        assert products.contract["model"] == "model-1"
        assert repr(products).startswith(f"Products(products → {products.collection}, at ")
        near = products.similar("P0", limit=2)
        assert len(near) == 2
        assert near == products.recommend(["P0", "P0"], limit=2)
        assert near.ids == products.search(product="P0", limit=2).ids
        assert set(products.recommend(["P0", "P1"], diverse=True, balance=0.2).ids) == {"P2", "P3", "P4"}
        assert products.similar("P0", filter='title == "Product 3"').ids == ["P3"]
        assert "Product 3" in repr(products.similar("P0"))
        assert "data:image/jpeg" in products.similar("P0")._repr_html_()
    assert "closed" in repr(products)


def test_a_name_in_a_filter_that_no_product_has_is_warned_of(shop, caplog):
    shop.run()
    with ingest.connect(shop.settings.milvus_uri) as products:
        assert products.similar("P0", filter='coluor == "red"').ids == []
    [said] = [record.getMessage() for record in caplog.records if "filter" in record.getMessage()]
    assert said.startswith("filter: coluor is not a field of the contract (did you mean colour?); it matches only")


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        ("search", {}, "the query is empty; give a text, an image or a product"),
        ("search", {"text": " "}, "the text to search for is empty"),
        ("search", {"product": "P77"}, "no product P77 in the collection"),
        ("search", {"product": "P0", "limit": 0}, "limit is 0; give a whole number from 1 to 1,000"),
        ("search", {"product": "P0", "filter": "price <"}, "the filter 'price <': "),
        ("similar", {"product": "P77"}, "no product P77 in the collection"),
        ("similar", {"product": "P0", "balance": 0.5}, "works with diverse=True only"),
        ("similar", {"product": "P0", "same": "coluor"}, "has no coluor"),
        ("recommend", {"products": []}, "the basket is empty"),
        ("similar", {"product": 2}, "product is of type int; give a text"),
        ("search", {"product": "P0", "limit": "5"}, "limit is '5'; give a whole number from 1 to 1,000"),
        ("search", {"text": ["a", "b"]}, "text is of type list; give a text"),
        ("search", {"product": "P0", "filter": {"price": 3}}, "filter is of type dict; give a text"),
    ],
)
def test_a_query_that_cannot_run_is_one_line_that_says_why(shop, method, arguments, said):
    shop.run()
    with ingest.connect(shop.settings.milvus_uri) as products, pytest.raises(ingest.QueryError) as raised:
        getattr(products, method)(**arguments)
    assert said in str(raised.value)


def test_a_connection_is_refused_where_there_is_nothing_and_by_what_is_closed(shop, tmp_path):
    with pytest.raises(
        ingest.MilvusError, match=r"no such Milvus Lite file; fill it with: ingest.run\(...\), or pass `uri`"
    ):
        ingest.connect(tmp_path / "no.db")
    with pytest.raises(ingest.MilvusError, match=r"^`uri` localhost:19530: not an address; pass http://"):
        ingest.connect("localhost:19530")
    shop.run()
    products = ingest.connect(shop.settings.milvus_uri)
    with pytest.raises(ingest.BusyError, match=r"close what ingest.connect has opened"):
        shop.call("run")
    products.close()
    products.close()
    with pytest.raises(ingest.MilvusError, match=r"is closed; call ingest.connect again"):
        products.similar("P0")
    shop.call("run")


def test_a_search_takes_the_collections_own_model_unless_one_is_named(shop):
    shop.run()
    with ingest.connect(shop.settings.milvus_uri) as products, pytest.raises(ingest.ModelError, match="model-1"):
        products.search("red mug")
    with (
        ingest.connect(shop.settings.milvus_uri, model="other") as products,
        pytest.raises(ingest.ModelError, match="other"),
    ):
        products.search("red mug")
