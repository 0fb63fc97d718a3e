"""Another schema takes over the rows of products that fail or are gone; what apps found lately is remembered."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest
from support.shop import ROOT
from support.small_shop import SmallShop

from ingest.catalog import reader
from ingest.core.errors import PruneRefusedError
from ingest.milvus import properties, versions, writer
from ingest.milvus.collection import Collection

if TYPE_CHECKING:
    from pathlib import Path

TEN: dict[str, tuple[int | None, str]] = {f"P{number}": (number, f"Product {number}") for number in range(10)}
BRAND = 'name = "brand"\ntype = "VARCHAR"\nmax_length = 256\ndefault = ""\n'


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    shop = SmallShop(tmp_path)
    shop.stock(TEN)
    shop.run()
    return shop


def contract(shop: SmallShop, *changes: tuple[str, str]) -> Path:
    text = (ROOT / "schema" / "products.toml").read_text(encoding="utf-8")
    for old, new in changes or [("M = 16 ", "M = 8 ")]:
        assert old in text
        text = text.replace(old, new)
    path = shop.folder / f"contract-{len(list(shop.folder.glob('contract-*')))}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def first(count: int) -> dict[str, tuple[int | None, str]]:
    return dict(list(TEN.items())[:count])


def high_water(shop: SmallShop) -> list[int] | None:
    """Return what the property of the served collection says."""
    served = next(release.name for release in shop.releases() if release.serves)
    with shop.connection() as connection:
        text = properties.get(connection, served).get("ingest.high_water")
    figures: list[int] | None = json.loads(text) if text else None
    return figures


def test_rows_of_products_that_fail_or_are_gone_are_carried_over_with_vector_and_fields(shop: SmallShop) -> None:
    before = shop.rows()
    shop.stock(first(4) | {"P3": (None, "Product 3")})
    schema = contract(shop)

    plan = shop.plan(schema=schema)
    outcome = shop.run(schema=schema)

    assert outcome.failure is None
    assert outcome.summary.carried == plan.carried == 7
    assert shop.rows() == before, "row by row, digests and vectors too"
    assert any(note.startswith("carried over 7 rows from the collection that was served") for note in outcome.notes)
    changes = (outcome_folder(shop) / "changes.csv").read_text(encoding="utf-8")
    assert 'P9,"gone, carried over"' in changes
    assert 'P3,"stale, carried over"' in changes
    with shop.connection() as connection:
        for old in versions.select_prunable(versions.list_versions(connection, "products"), 0):
            versions.drop(connection, "products", old.name)
    assert shop.rows() == before, "no row is only in a collection that may be dropped"
    assert shop.verify(schema=schema).differing == []


def test_a_plan_carries_what_a_run_does_when_a_changed_catalog_forbids_a_prune(shop: SmallShop) -> None:
    schema = contract(shop)
    shop.stock(first(9))
    text = shop.settings.catalog.read_text(encoding="utf-8")
    shop.settings.catalog.write_text(text.replace("title", "name", 1), encoding="utf-8")

    plan = shop.plan(schema=schema, prune=True)
    with pytest.raises(PruneRefusedError) as refused:
        shop.run(schema=schema, prune=True)

    assert plan.refused in str(refused.value)
    assert (plan.carried, plan.remove) == (1, 0)
    assert set(shop.rows()) == set(TEN)


def outcome_folder(shop: SmallShop) -> Path:
    return max((shop.folder / "data" / "runs").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def test_a_carried_row_is_up_to_date_when_its_product_is_back(shop: SmallShop) -> None:
    schema = contract(shop)
    shop.stock(first(4))
    shop.run(schema=schema)
    shop.stock(TEN | {"P9": (9, "renamed")})

    summary = shop.run(schema=schema).summary

    assert (summary.unchanged, summary.changed["metadata"], summary.embedded) == (9, 1, 0)


def test_carried_rows_have_the_fields_of_the_new_schema_and_a_digest_over_them(shop: SmallShop) -> None:
    renamed, new = 'name = "label"\ncolumn = "title"\n', 'name = "stock"\ntype = "INT64"\ndefault = -1\n'
    schema = contract(shop, (BRAND, new), ('name = "title"\n', renamed))
    shop.stock(first(9))

    shop.run(schema=schema)

    row = shop.rows()["P9"]
    assert (row["label"], row["stock"]) == ("Product 9", -1)
    assert row.keys() == shop.rows()["P1"].keys()
    shop.stock(TEN)
    assert shop.run(schema=schema).summary.unchanged == 10, "its digest is that of the catalog's row"
    assert shop.verify(schema=schema).differing == []


def test_a_field_that_is_not_in_the_schema_any_more_is_kept_like_a_column_outside_of_it(shop: SmallShop) -> None:
    schema = contract(shop, ('name = "title"\n', 'name = "label"\ncolumn = "name"\n'))
    shop.stock(first(9))
    shop.run(schema=schema)
    assert (shop.rows()["P9"]["label"], shop.rows()["P9"]["title"]) == ("", "Product 9")


def test_rows_that_do_not_fit_are_lost_and_too_many_are_refused(shop: SmallShop) -> None:
    shop.stock(TEN | {name: (number, "A title that is longer") for number, name in enumerate(list(TEN)[:3])})
    shop.run()
    schema = contract(shop, ("max_length = 1024", "max_length = 10"))
    before = shop.rows()

    plan = shop.plan(schema=schema)
    outcome = shop.run(schema=schema)

    assert plan.unserved.startswith("apps would lose 3 of the 10 products that they find (3 fail today, or do not fit)")
    assert outcome.failure is not None
    assert outcome.failure.exit_code == 10
    assert plan.unserved in str(outcome.failure)
    assert shop.rows() == before
    assert shop.run(schema=schema, allow_smaller=True).failure is None
    assert len(shop.rows()) == 7
    assert high_water(shop) is None, "the flag has lowered it to what is served"


def test_what_may_be_pruned_is_not_carried_over(shop: SmallShop) -> None:
    shop.stock(first(9) | {"P8": (None, "")})
    schema = contract(shop)

    outcome = shop.run(schema=schema, prune=True)

    assert (outcome.summary.carried, outcome.failure) == (1, None)
    assert set(shop.rows()) == set(first(9))
    assert high_water(shop) == [10], "it goes with the alias"


def test_what_may_not_be_pruned_because_it_is_too_much_is_carried_over(shop: SmallShop) -> None:
    shop.stock(first(3))
    schema = contract(shop)

    plan = shop.plan(schema=schema, prune=True)
    with pytest.raises(PruneRefusedError, match="7 of 10 rows would be deleted"):
        shop.run(schema=schema, prune=True)

    assert "7 of 10 rows would be deleted" in plan.refused
    assert (plan.carried, plan.unserved) == (7, "")
    assert set(shop.rows()) == set(TEN)


def test_a_run_killed_before_the_switch_carries_on(shop: SmallShop) -> None:
    class Killed(BaseException):
        pass

    before = shop.rows()
    shop.stock(first(4))
    schema = contract(shop)
    with mock.patch.object(Collection, "switch_alias", side_effect=Killed), suppress(Killed):
        shop.run(schema=schema)
    assert shop.rows() == before

    assert shop.run(schema=schema).failure is None

    assert shop.rows() == before


def test_of_two_rows_of_a_product_that_fails_the_newer_goes_on(shop: SmallShop) -> None:
    schema = contract(shop)
    shop.run(schema=schema)
    shop.stock(TEN | {"P5": (15, "newer")})
    shop.run(schema=schema)
    shop.stock(TEN | {"P5": (None, "fails")})

    shop.run()  # back to the first collection, which has an older row

    assert shop.rows()["P5"]["title"] == "newer"
    assert shop.verify().differing == []


def test_rows_that_ingest_did_not_write_are_carried_over_as_they_are(shop: SmallShop) -> None:
    theirs: dict[str, Any] = {
        "product_id": "theirs", "embedding": [0.0] * 8, "row_digest": "", "image_sha256": "none", "title": "T",
        "category": "", "colour": "", "price": 1.5, "brand": "", "image": "", "note": "kept",
    }  # fmt: skip
    with shop.client() as client:
        client.load_collection("products")
        client.insert("products", [theirs])
    before = shop.rows()["theirs"]
    schema = contract(shop)

    outcome = shop.run(schema=schema)

    assert outcome.summary.carried == 1
    after = shop.rows()["theirs"]
    assert (after.pop("image_sha256"), before.pop("image_sha256")) == ("", "none")
    assert after == before
    assert any("1 row that ingest did not write" in note for note in shop.run(schema=schema).notes)


def test_few_rows_of_others_are_written_at_once_because_their_texts_may_be_long(shop: SmallShop) -> None:
    theirs: dict[str, Any] = {
        "embedding": [0.0] * 8, "row_digest": "", "image_sha256": "", "title": "", "category": "", "colour": "",
        "price": 1.5, "brand": "", "image": "",
    }  # fmt: skip
    with shop.client() as client:
        client.load_collection("products")
        client.insert("products", [{"product_id": f"theirs-{number}", **theirs} for number in range(101)])
    schema = contract(shop)
    with mock.patch.object(writer, "write", wraps=writer.write) as write:
        assert shop.run(schema=schema).summary.carried == 101
    assert [len(call.args[0]) for call in write.call_args_list][-2:] == [100, 1]
    assert len(shop.rows()) == 111


def test_another_model_carries_nothing_over_and_the_guard_holds(shop: SmallShop) -> None:
    shop.stock(first(7))
    failure = shop.run(model="model-2").failure
    assert failure is not None
    assert "apps would lose 3 of the 10 products that they find (3 not in the catalog), more than 20 %" in str(failure)
    assert set(shop.rows()) == set(TEN)
    shop.stock(first(8))
    assert shop.run(model="model-2").failure is None
    assert set(shop.rows()) == set(first(8))


def test_small_cuts_add_up_until_seven_runs_have_passed_or_a_flag_says_so(shop: SmallShop) -> None:
    shop.stock(first(8))
    shop.run(prune=True)
    assert high_water(shop) == [10]
    shop.stock(first(7))
    for _ in range(8):  # waiting does not help
        plan = shop.plan(prune=True)
        with pytest.raises(PruneRefusedError, match=r"which leaves 7, fewer than 80% of the 10 of the last seven runs"):
            shop.run(prune=True)
        assert "--allow-smaller" in plan.refused
    assert high_water(shop) == [10]
    for night in range(7):
        assert high_water(shop) == [10] + [8] * night
        shop.run()
    assert high_water(shop) == [8]
    assert shop.run(prune=True).summary.deleted == 1
    shop.stock(first(6))
    assert shop.run(prune=True, allow_smaller=True).summary.deleted == 1
    assert high_water(shop) == [6]


def test_a_larger_share_lowers_the_high_water_too(shop: SmallShop) -> None:
    shop.stock(first(5))
    shop.run(prune=True, max_prune=0.5)
    assert high_water(shop) is None
    shop.stock(first(4))
    assert shop.run(prune=True).summary.deleted == 1


@pytest.mark.parametrize("text", ["", "[", "{}", '["10"]', "[-1]"])
def test_a_broken_property_means_what_is_served_now(shop: SmallShop, text: str) -> None:
    [served] = shop.releases()
    with shop.connection() as connection:
        properties.set_properties(connection, served.name, {"ingest.high_water": text})
    shop.stock(first(8))
    assert shop.run(prune=True).summary.deleted == 2


def test_a_night_without_changes_reads_the_catalog_once_and_one_with_changes_its_ids_too(shop: SmallShop) -> None:
    with mock.patch.object(reader, "read_ids", wraps=reader.read_ids) as read:
        shop.run()
        shop.stock(first(3))
        shop.run()
        assert read.call_count == 0
        shop.stock(TEN | {"P1": (1, "renamed"), "new": (11, "new")})
        shop.run()
        assert read.call_count == 1


@pytest.mark.parametrize("changes", [{}, {"prune": True}, {"sample": 3}, {"model": "model-2"}])
def test_a_catalog_of_other_ids_is_refused_before_anything_is_written(shop: SmallShop, changes: dict[str, Any]) -> None:
    before = shop.rows()

    plan = shop.plan(id_column="title", **changes)
    outcome = shop.run(id_column="title", **changes)

    assert outcome.failure is not None
    assert outcome.failure.exit_code == 10
    assert "10 of the 10 that apps find are not in it, and 10 of its 10 rows have a new id" in str(outcome.failure)
    assert "check --id-column title, or pass --allow-smaller" in str(outcome.failure)
    assert plan.unwritten in str(outcome.failure)
    assert (outcome.summary.upserted, outcome.summary.deleted) == (0, 0)
    assert shop.rows() == before
    assert shop.report()["outcome"] == "not live"
    np.testing.assert_equal(shop.run().summary.unchanged, 10)


def test_ids_that_have_really_changed_are_accepted_with_a_flag(shop: SmallShop) -> None:
    outcome = shop.run(id_column="title", allow_smaller=True, prune=True, max_prune=1.0, accept_changed_catalog=True)
    assert outcome.failure is None
    assert set(shop.rows()) == {title for _, title in TEN.values()}
