"""The alias of the collection before: set before the main one moves, so that a kill between two calls loses nothing."""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from support.shop import contract_in
from support.small_shop import FIVE, SmallShop

from ingest.core.contract import BUILT, FILLING, PREVIOUS, SERVED
from ingest.core.errors import MilvusError, NotLiveError
from ingest.milvus import versions
from ingest.milvus.alias import alias_target
from ingest.milvus.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ingest.milvus.versions import CollectionVersion

SECOND = "products_previous"
SWITCHING = {"create_alias", "alter_alias", "drop_alias", "alter_collection_properties", "drop_collection"}


class KilledError(BaseException):
    """Ends the process, as far as the test is concerned."""


@contextmanager
def killed_before(call: int) -> Iterator[list[str]]:
    """Kill before the so-manieth call that writes aliases or properties; yield the calls that were made."""
    made: list[str] = []
    ask = Connection.call

    def counted(self: Connection, doing: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if function.__name__ in SWITCHING:
            if len(made) == call:
                raise KilledError
            made.append(function.__name__)
        return ask(self, doing, function, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, suppress(KilledError):
        patch.setattr(Connection, "call", counted)
        yield made


def by_model(shop: SmallShop) -> dict[str, CollectionVersion]:
    return {version.model: version for version in shop.releases()}


def state(shop: SmallShop) -> tuple[str, str | None]:
    """Return the models of the served collection and of the one before."""
    found = shop.releases()
    before = [version.model for version in found if version.previous]
    return next(version.model for version in found if version.serves), before[0] if before else None


def second_target(shop: SmallShop) -> str | None:
    with shop.connection() as connection:
        name = alias_target(connection, SECOND)
    return next((version.model for version in shop.releases() if version.name == name), None)


def rollback(shop: SmallShop, **options: Any) -> versions.Rollback:
    with shop.connection() as connection:
        return versions.rollback(connection, "products", **options)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> SmallShop:
    """A shop that has served model-0, and serves model-1."""
    shop = SmallShop(tmp_path_factory.mktemp("shop"))
    shop.stock(FIVE)
    shop.run(model="model-0")
    shop.run(model="model-1")
    return shop


@pytest.fixture
def shop(stocked: SmallShop, tmp_path: Path) -> SmallShop:
    return copied(stocked, tmp_path / "shop")


def copied(shop: SmallShop, folder: Path) -> SmallShop:
    shutil.copytree(shop.folder, folder)
    return SmallShop(folder)


def test_the_second_alias_points_to_what_was_served_before_and_a_rollback_swaps_them(shop: SmallShop) -> None:
    assert second_target(shop) == "model-0"
    assert state(shop) == ("model-1", "model-0")

    done = rollback(shop)
    versions_ = by_model(shop)
    assert done == versions.Rollback(versions_["model-0"].name, 5, versions_["model-1"].name, 5)
    assert (second_target(shop), state(shop)) == ("model-1", ("model-0", "model-1"))

    rollback(shop)
    assert (second_target(shop), state(shop)) == ("model-0", ("model-1", "model-0"))


def test_a_run_killed_between_any_two_calls_of_a_switch_leaves_what_all_commands_understand(
    stocked: SmallShop, tmp_path: Path
) -> None:
    seen = set()
    for call in range(20):
        shop = copied(stocked, tmp_path / str(call))
        with killed_before(call) as made:
            shop.run(model="model-2")
        if len(made) < call:
            break
        now = state(shop)
        seen.add((now, second_target(shop)))
        assert now in {("model-1", "model-0"), ("model-2", "model-1")}
        assert len(shop.rows()) == 5
        kept = {"model-1", "model-0", "model-2"} if now[0] == "model-1" else {"model-2", "model-1"}
        dropped = {version.model for version in versions.select_prunable(shop.releases(), 1)}
        assert not dropped & kept

        back = copied(shop, tmp_path / f"{call}-back")
        rollback(back)
        assert state(back) == (now[1], now[0])

        shop.run(model="model-2")
        assert (state(shop), second_target(shop)) == (("model-2", "model-1"), "model-1")
        assert by_model(shop)["model-2"].last_served
        assert not by_model(shop)["model-2"].filling
        assert shop.run(model="model-2").summary.upserted == 0
    assert seen == {
        (("model-1", "model-0"), "model-0"), (("model-1", "model-0"), "model-1"), (("model-2", "model-1"), "model-1"),
    }  # fmt: skip


def test_a_rollback_killed_between_any_two_calls_is_finished_by_the_next_one(
    stocked: SmallShop, tmp_path: Path
) -> None:
    for call in range(20):
        shop = copied(stocked, tmp_path / str(call))
        with killed_before(call) as made:
            rollback(shop)
        if len(made) < call:
            break
        now = state(shop)
        assert now in {("model-1", "model-0"), ("model-0", "model-1")}
        run = copied(shop, tmp_path / f"{call}-run")
        run.run(model=now[0])
        assert (state(run), second_target(run)) == (now, now[1]), "a run for what is served heals the second alias"
        rollback(shop)
        assert (state(shop), second_target(shop)) == ((now[1], now[0]), now[0])
    assert call > 4


def test_a_prune_killed_between_any_two_calls_is_finished_by_the_next_one(stocked: SmallShop, tmp_path: Path) -> None:
    for call in range(4):
        shop = copied(stocked, tmp_path / str(call))
        old = by_model(shop)["model-0"].name
        with shop.connection() as connection, killed_before(call):
            versions.drop(connection, "products", old)
        assert second_target(shop) in (None, "model-0")
        left = by_model(shop)
        if "model-0" in left:
            assert [version.model for version in versions.select_prunable(list(left.values()), 0)] == ["model-0"]
            assert versions.select_prunable(shop.releases(), 1) == []
            with shop.connection() as connection:
                versions.drop(connection, "products", old)
        assert list(by_model(shop)) == ["model-1"]
        with shop.client() as client:
            assert client.list_aliases("products")["aliases"] == ["products"]
    with pytest.raises(MilvusError, match="there is no collection that products served before; "):
        rollback(shop)


def note(shop: SmallShop, version: CollectionVersion, **properties: str) -> None:
    with shop.client() as client:
        client.alter_collection_properties(version.name, {f"ingest.{key}": value for key, value in properties.items()})


def test_clocks_that_disagree_change_nothing(shop: SmallShop) -> None:
    shop.run(model="model-2")
    found = by_model(shop)
    note(shop, found["model-0"], served="2099-01-01T00:00:00.000+00:00", built="2020-01-01T00:00:00.000+00:00")
    note(shop, found["model-1"], served="2001-01-01T00:00:00.000+00:00")
    note(shop, found["model-2"], served="2000-01-01T00:00:00.000+00:00")

    assert state(shop) == ("model-2", "model-1")
    assert [version.model for version in versions.select_prunable(shop.releases(), 1)] == ["model-0"]
    assert rollback(shop).serves == found["model-1"].name


def test_collections_from_before_the_second_alias_go_by_their_times(shop: SmallShop) -> None:
    shop.run(model="model-2")
    for version in shop.releases():
        note(shop, version, **{PREVIOUS.partition(".")[2]: "", FILLING.partition(".")[2]: ""})
    with shop.client() as client:
        client.drop_alias(SECOND)

    assert state(shop) == ("model-2", "model-1")
    assert [version.model for version in versions.select_prunable(shop.releases(), 1)] == ["model-0"]
    rollback(shop)
    assert (state(shop), second_target(shop)) == (("model-1", "model-2"), "model-2")


def test_a_collection_that_a_run_may_be_filling_is_not_dropped_however_old_it_is(shop: SmallShop) -> None:
    with killed_before(0):
        shop.run(model="model-2")  # killed before it wrote to the second alias
    unfinished = by_model(shop)["model-2"]
    assert (unfinished.last_served, bool(unfinished.filling)) == ("", True)
    shop.run(model="model-3")
    assert versions.select_prunable(shop.releases(), 2) == []

    note(shop, unfinished, filling="2020-01-01T00:00:00.000+00:00", built="2020-01-01T00:00:00.000+00:00")
    assert [version.model for version in versions.select_prunable(shop.releases(), 2)] == ["model-2"]

    with killed_before(5):
        shop.run(model="model-0")  # served before, and filled again
    assert by_model(shop)["model-0"].filling
    assert [version.model for version in versions.select_prunable(shop.releases(), 0)] == ["model-1", "model-2"]


def test_a_rollback_goes_to_any_collection_of_the_alias_by_name(shop: SmallShop) -> None:
    shop.run(model="model-2")
    found = by_model(shop)

    assert rollback(shop, to=found["model-0"].name).served_before == found["model-2"].name
    assert (state(shop), second_target(shop)) == (("model-0", "model-2"), "model-2")
    assert rollback(shop, to=found["model-0"].name) == versions.Rollback(*(found["model-0"].name, 5) * 2)
    with pytest.raises(MilvusError, match="there is no collection nothing that was built for products; name another: "):
        rollback(shop, to="nothing")


def test_a_rollback_to_a_fraction_of_the_rows_takes_a_flag_and_to_none_is_refused(shop: SmallShop) -> None:
    shop.run(model="model-2", sample=3)
    small = by_model(shop)["model-2"].name
    with pytest.raises(NotLiveError, match=f"{small} has 3 rows, and .*, which products serves, has 5; to switch all"):
        rollback(shop, to=small)
    assert rollback(shop, to=small, allow_smaller=True).rows == 3

    empty = by_model(shop)["model-0"].name
    with shop.client() as client:
        client.load_collection(empty)
        client.delete(empty, filter='product_id != ""')
    with pytest.raises(MilvusError, match=f"{empty} is empty, so products does not switch to it"):
        rollback(shop, to=empty, allow_smaller=True)
    assert state(shop) == ("model-2", "model-1")


def test_a_name_that_is_somebody_elses_is_told_before_anything_is_written(shop: SmallShop, tmp_path: Path) -> None:
    other = SmallShop(tmp_path / "other", str(shop.settings.data / "milvus.db"), schema=contract_in(tmp_path, SECOND))
    other.stock(FIVE)
    with pytest.raises(MilvusError, match=f"the alias {SECOND} points to products_.*, which products served before"):
        other.run()
    with shop.client() as client:
        client.create_collection("theirs", dimension=4)
        client.alter_alias("theirs", SECOND)
    before = len(shop.releases())
    for act in (lambda: shop.run(model="model-2"), lambda: shop.plan(model="model-2")):
        with pytest.raises(MilvusError, match=f"the alias {SECOND} points to theirs, which was not built for products"):
            act()
    assert len(shop.releases()) == before
    assert shop.run(model="model-1").summary.unchanged == 5, "a night that moves no alias goes on"
    assert state(shop) == ("model-1", "model-0"), "by the property"

    with shop.client() as client:
        client.drop_alias(SECOND)
        client.create_collection(SECOND, dimension=4)
    with pytest.raises(MilvusError, match=f"{SECOND} is a collection; ingest needs that name"):
        shop.run(model="model-2")
    with shop.client() as client:
        client.drop_collection(SECOND)
    shop.run(model="model-2")
    assert (state(shop), second_target(shop)) == (("model-2", "model-1"), "model-1")


def test_verify_says_what_the_second_alias_points_to(shop: SmallShop) -> None:
    verdict = shop.verify()
    assert verdict.differing == []
    assert verdict.previous == by_model(shop)["model-0"].name
    assert f"the alias {SECOND} points to {verdict.previous}" in verdict.notes
    assert {BUILT, SERVED} == {"ingest.built", "ingest.served"}
