"""A plan says what a run would do, and a run does exactly that: add, change, remove, and leave what is not its own."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.small_shop import SmallShop, picture_vector

from ingest.cli.output import plan
from ingest.core import contract as contracts
from ingest.core import contract_file
from ingest.core.errors import ConfigError, ModelError, NotLiveError, PruneRefusedError, TooManySkippedError
from ingest.milvus import index_parameters
from ingest.tasks import field_changes

if TYPE_CHECKING:
    from pathlib import Path

TEN = {f"P{number}": (number, f"Product {number}") for number in range(10)}


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    shop = SmallShop(tmp_path)
    shop.stock(TEN)
    shop.run()
    return shop


def test_a_plan_before_the_first_run_makes_no_database(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path)
    shop.stock(TEN)

    found = shop.plan()

    assert (found.products, found.added, found.embed, found.unchanged) == (10, 10, 10, 0)
    assert not (tmp_path / "data" / "milvus.db").exists()


def test_a_device_that_cannot_be_is_told_also_where_nothing_is_to_be_embedded(shop: SmallShop) -> None:
    with pytest.raises(ModelError, match="--device gpu: no such device"):
        shop.run(device="gpu")


def test_a_run_does_what_the_plan_says(shop: SmallShop) -> None:
    products = dict(TEN)
    del products["P0"]
    products |= {
        "P1": (1, "renamed"), "P3": (30, "both"), "P4": (None, "Product 4"), "new": (5, "new"),
        "bad": (None, "never there"),
    }  # fmt: skip
    shop.stock(products)
    shop.redraw(2, 20)
    before = shop.rows()

    found = shop.plan(prune=True)

    assert shop.rows() == before, "a plan changes nothing"
    assert found.added == 1
    assert found.changed == {"picture": 1, "metadata": 1, "both": 1}
    assert (found.unchanged, found.skipped, found.stale, found.gone, found.remove) == (5, 2, 1, 1, 1)
    assert found.embed == 2, "the new product's picture is known, and so is that of the renamed one"
    assert shop.details(found) == {
        "P0": '"gone, deleted"', "P1": "metadata", "P2": "picture", "P3": "both", "P4": "stale", "new": "added",
    }  # fmt: skip

    assert found.fields == {"title": 2, "image": 1}
    assert [(name, *change) for name, change in field_changes.read(found.field_details)] == [
        ("P1", "title", '"Product 1"', '"renamed"'),
        ("P3", "title", '"Product 3"', '"both"'),
        ("P3", "image", '"images/3.png"', '"images/30.png"'),
    ]

    summary = shop.run(prune=True).summary

    assert (summary.added, summary.changed, summary.unchanged) == (found.added, found.changed, found.unchanged)
    assert (summary.skipped, summary.stale, summary.deleted) == (2, 1, 1)
    assert summary.embedded == 2
    after = shop.rows()
    assert set(after) == set(products) - {"bad"}
    assert after["P4"] == before["P4"], "the last good row stays"
    assert after["P1"]["title"] == "renamed"
    assert after["P3"]["embedding"] == pytest.approx(picture_vector("model-1", 30))
    again = shop.plan(prune=True)
    assert (again.added, sum(again.changed.values()), again.remove, again.unchanged) == (0, 0, 0, 9)


def test_changed_metadata_alone_embeds_nothing(shop: SmallShop) -> None:
    shop.stock(TEN | {"P1": (1, "renamed")})

    summary = shop.run().summary

    assert (summary.embedded, summary.upserted, summary.changed["metadata"]) == (0, 1, 1)


def test_without_prune_what_left_the_catalog_is_counted_and_named(shop: SmallShop) -> None:
    shop.stock({name: TEN[name] for name in list(TEN)[2:]})

    outcome = shop.run()

    assert (outcome.summary.gone, outcome.summary.deleted) == (2, 0)
    assert "P0, P1" in outcome.notes[0]
    assert len(shop.rows()) == 10


def test_pruning_more_than_the_share_is_refused_and_all_else_is_done(shop: SmallShop) -> None:
    shop.stock({name: TEN[name] for name in list(TEN)[3:]} | {"P9": (9, "renamed")})

    with pytest.raises(PruneRefusedError, match=r"3 of 10 rows .* --max-prune 0.2"):
        shop.run(prune=True)

    assert len(shop.rows()) == 10
    assert shop.rows()["P9"]["title"] == "renamed"
    assert shop.report()["outcome"] == "prune refused"
    assert shop.plan(prune=True).refused
    assert shop.run(prune=True, max_prune=0.3).summary.deleted == 3
    assert len(shop.rows()) == 7


def test_a_catalog_cut_off_within_a_row_prunes_nothing(shop: SmallShop) -> None:
    text = shop.settings.catalog.read_text(encoding="utf-8").rstrip()
    shop.settings.catalog.write_text(text[: text.rindex("9,images")], encoding="utf-8")

    with pytest.raises(PruneRefusedError, match="cannot be read"):
        shop.run(prune=True, max_prune=1.0)

    assert len(shop.rows()) == 10


def test_a_catalog_that_cannot_be_read_to_its_end_prunes_nothing(shop: SmallShop) -> None:
    text = shop.settings.catalog.read_text(encoding="utf-8")
    shop.settings.catalog.write_text(text[: text.index("Product 5")] + '"Prod', encoding="utf-8")

    with pytest.raises(PruneRefusedError, match="1 rows of the catalog cannot be read"):
        shop.run(prune=True, max_prune=1.0)

    assert len(shop.rows()) == 10


def test_a_sample_cannot_prune(shop: SmallShop) -> None:
    with pytest.raises(ConfigError, match="--prune with --sample"):
        shop.run(prune=True, sample=3)


def test_failed_products_are_dropped_when_told_and_under_the_same_guard(shop: SmallShop) -> None:
    shop.stock(TEN | {"P4": (None, "Product 4")})
    assert shop.run(drop_failed=True).summary.deleted == 1
    assert "P4" not in shop.rows()

    shop.stock({name: (None, "broken") for name in TEN if name != "P9"} | {"P9": (9, "Product 9")})
    with pytest.raises(PruneRefusedError):
        shop.run(drop_failed=True)
    assert len(shop.rows()) == 9

    shop.stock(dict.fromkeys(TEN, (None, "broken")))
    outcome = shop.run(drop_failed=True)
    assert isinstance(outcome.failure, NotLiveError), "which says more than that nothing was deleted"
    assert any(note.startswith("nothing was deleted") for note in outcome.notes)
    assert len(shop.rows()) == 9


def test_rows_that_ingest_did_not_write_are_left_and_not_counted(shop: SmallShop) -> None:
    foreign = {"embedding": picture_vector("x", 1), "row_digest": "", "image_sha256": "", "category": "", "colour": "",
               "price": 0.0, "brand": "", "image": "", "title": "not ours"}  # fmt: skip
    with shop.client() as client:
        client.load_collection("products")
        name = client.describe_collection("products")["collection_name"]
        client.upsert(name, [{"product_id": product_id, **foreign} for product_id in ("theirs", "new")])
    products = {product_id: TEN[product_id] for product_id in list(TEN)[1:]} | {"new": (11, "wants the same id")}
    shop.stock(products)

    found = shop.plan(prune=True)
    assert (found.foreign, found.gone, found.remove, found.added) == (2, 1, 1, 0)
    assert found.reasons == {"foreign row": 1}
    outcome = shop.run(prune=True)

    assert outcome.summary.deleted == 1
    rows = shop.rows()
    assert rows["theirs"]["title"] == rows["new"]["title"] == "not ours"
    assert len(rows) == 11


def test_the_second_row_of_an_id_does_not_touch_the_first(shop: SmallShop) -> None:
    text = shop.settings.catalog.read_text(encoding="utf-8")
    shop.settings.catalog.write_text(text + "P1,images/broken.png,again\n", encoding="utf-8")

    summary = shop.run(drop_failed=True, prune=True).summary

    assert (summary.unchanged, summary.skipped, summary.stale, summary.deleted) == (10, 1, 0, 0)


def test_ids_with_quotes_are_read_back_wherever_they_stand(tmp_path: Path) -> None:
    shop = SmallShop(tmp_path)
    shop.stock({'quo"te': (1, "a"), "back\\slash": (2, "b"), 'z"': (3, "the last of a batch")})
    shop.run()

    assert shop.plan().unchanged == 3


def test_a_plan_that_skips_more_than_allowed_is_shown_and_ends_as_the_run_would(
    shop: SmallShop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.stock(TEN | {"P4": (None, "Product 4")})
    for allowed in ("1", "0"):
        settings = replace(shop.settings, max_skipped=allowed)
        with shop.faked(), pytest.raises(TooManySkippedError) if allowed == "0" else nullcontext():
            plan.show(settings, as_json=False, quiet=False, details=False)
        assert "1 skipped: not an image" in capsys.readouterr().out


def test_a_plan_says_what_a_run_would_bring_up_to_date_besides_rows(shop: SmallShop) -> None:
    shop.run(exports=True)
    assert shop.plan(exports=True).also == []

    (name,) = (release.name for release in shop.releases())
    with shop.client() as client:  # as an older ingest left it
        client.release_collection(name)
        client.create_index(name, index_parameters.index_params(contract_file.load(contract_file.default_path())))
        client.alter_collection_properties(name, {contracts.PROPERTY: "{}"})
    shop.stock({product_id: product for product_id, product in TEN.items() if product_id != "P4"})

    dropped, carried, exported = shop.plan(exports=True).also
    assert (f"drop the index of {name}" in dropped, "the contract" in carried, "exported files" in exported) == (
        True, True, True,
    )  # fmt: skip
    shop.run(exports=True)
    assert shop.plan(exports=True).also == []


def shown(
    shop: SmallShop, *, as_json: bool = False, quiet: bool = False, details: bool = False, **changes: Any
) -> None:
    """Show the plan as the command does, and raise what it ends with."""
    with shop.faked():
        plan.show(replace(shop.settings, **changes), as_json=as_json, quiet=quiet, details=details)


def test_a_plan_is_shown_with_the_changed_fields_and_one_of_a_collection_to_come_says_so(
    shop: SmallShop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.stock(TEN | {"P1": (1, "renamed"), "new": (5, "new")})
    shown(shop, details=True)
    out = capsys.readouterr().out
    assert "  fields that change: title 1\n" in out
    assert '  metadata        P1\n                    title: "Product 1" → "renamed"\n  added           new\n' in out

    shown(shop, as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert (content["exists"], content["fields"]) == (True, {"title": 1})
    assert content["changes"] == [
        {"product_id": "P1", "change": "metadata",
         "fields": [{"name": "title", "old": '"Product 1"', "new": '"renamed"'}]},
        {"product_id": "new", "change": "added"},
    ]  # fmt: skip

    shown(shop, quiet=True)
    assert capsys.readouterr().out == "11 products: 1 to add, 1 to change, 0 to delete, 9 unchanged, 0 skipped\n"

    shown(shop, model="model-2")
    assert "which does not exist yet; nothing was changed:" in capsys.readouterr().out


def test_a_plan_knows_that_exports_lose_what_is_dropped_as_failed(shop: SmallShop) -> None:
    shop.run(exports=True)
    shop.stock(TEN | {"P4": (None, "Product 4")})
    shop.run(exports=True)

    assert shop.plan(exports=True).also == []
    (exported,) = shop.plan(exports=True, drop_failed=True).also
    assert "exported files" in exported

    shop.run(exports=True, drop_failed=True)
    assert shop.plan(exports=True, drop_failed=True).also == []


def test_a_plan_ends_as_the_run_that_refuses_to_replace_the_exports(
    shop: SmallShop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.run(exports=True)
    shop.stock({name: TEN[name] for name in list(TEN)[3:]} | {"new": (11, "to embed")})

    found = shop.plan(exports=True)
    with pytest.raises(NotLiveError):
        shown(shop, exports=True)

    assert (found.also, found.embed) == ([], 1)
    assert found.exports_refused.startswith("they would lose 3 of their 10 products (3 not in the catalog)")
    assert f"note: a run would not replace the exported files: {found.exports_refused}" in capsys.readouterr().out
    assert found.exports_refused in str(shop.run(exports=True).failure)
    shown(shop, exports=True, allow_smaller=True)
    assert shop.run(exports=True, allow_smaller=True).failure is None


def test_products_that_a_run_embeds_first_do_not_leave_the_exports(shop: SmallShop) -> None:
    shop.run(exports=True)
    for number in range(10):
        shop.redraw(number, 20 + number)

    found = shop.plan(exports=True)

    assert (found.embed, found.exports_refused) == (10, "")
    assert shop.run(exports=True).failure is None


@pytest.mark.parametrize("changes", [{}, {"model": "model-2"}], ids=["first night", "another model"])
def test_a_plan_whose_skips_keep_the_alias_from_moving_ends_as_the_run(
    tmp_path: Path, changes: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    shop = SmallShop(tmp_path)
    shop.stock(TEN)
    if changes:
        shop.run()
    shop.stock(TEN | {"P4": (None, "Product 4")})

    with pytest.raises(NotLiveError, match="1 of 10 products would be skipped, more than --max-skipped 0 allows"):
        shown(shop, max_skipped="0", **changes)

    assert "and would not switch" in capsys.readouterr().out
    failure = shop.run(max_skipped="0", **changes).failure
    assert isinstance(failure, NotLiveError)
