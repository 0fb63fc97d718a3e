"""Properties that somebody else wrote, on our collections and on theirs: one clear line, or none of our business."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from support.small_shop import FIVE, SmallShop

from ingest.cli.main import cli
from ingest.core.contract import BUILT, FILLING, PREVIOUS, PROPERTY, SERVED
from ingest.core.errors import IngestError, MilvusError

if TYPE_CHECKING:
    from click.testing import Result

BROKEN = {
    "an array": "[]",
    "a text": '"x"',
    "keys that are missing": '{"alias": "products", "ef": 64}',
    "nothing": "",
    "deep": '{"alias":' + "[" * 50_000 + "]" * 50_000 + "}",
}
"""Others are in tests/unit/core/test_carried_properties.py."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SmallShop:
    """A shop with a collection that was served before."""
    shop = SmallShop(tmp_path_factory.mktemp("shop"))
    shop.stock(FIVE)
    shop.run(model="model-0")
    shop.run()
    with shop.client() as client:
        client.create_collection("theirs", dimension=4)
    return shop


def set_property(shop: SmallShop, name: str, **properties: str) -> None:
    with shop.client() as client:
        client.alter_collection_properties(name, {f"ingest.{key}": value for key, value in properties.items()})


def typed(shop: SmallShop, *words: str) -> Result:
    with shop.faked():
        ended = CliRunner().invoke(cli, [*words, "--data", str(shop.settings.data)])
    assert ended.exception is None or isinstance(ended.exception, IngestError | SystemExit), ended.exception
    return ended


def served(shop: SmallShop) -> str:
    with shop.client() as client:
        return str(client.describe_collection("products")["collection_name"])


@pytest.mark.parametrize("carried", BROKEN.values(), ids=BROKEN)
def test_what_a_foreign_collection_carries_ends_no_command_and_is_listed_nowhere(shop: SmallShop, carried: str) -> None:
    set_property(shop, "theirs", contract=carried, served=carried, built=carried, importing=carried, missing=carried)

    ended = typed(shop, "collections", "--json")
    assert ended.exit_code == 0
    assert [version["model"] for version in json.loads(ended.stdout)] == ["model-1", "model-0"]
    assert typed(shop, "search", "--product", "P1").exit_code == 0
    assert shop.run().summary.unchanged == 5


@pytest.mark.parametrize("carried", BROKEN.values(), ids=BROKEN)
def test_a_broken_contract_that_the_alias_serves_is_one_line_and_a_run_writes_it_again(
    shop: SmallShop, carried: str
) -> None:
    name = served(shop)
    set_property(shop, name, contract=carried)

    for words in (("collections",), ("rollback",), ("search", "--product", "P1"), ("recommend", "P1")):
        ended = typed(shop, *words)
        assert isinstance(ended.exception, MilvusError), words
        said = str(ended.exception)
        assert f"the alias products serves {name}, whose property {PROPERTY} cannot be read; ingest run with" in said
        assert "\n" not in said
    with pytest.raises(MilvusError, match=f"whose property {PROPERTY} cannot be read"):
        shop.run(model="model-2")
    shop.run()
    assert [version.model for version in shop.releases()] == ["model-1", "model-0"]


@pytest.mark.parametrize("value", [*BROKEN.values(), "2026-01-01", "\x1b[2J", "9999-12-31T23:59:59-14:00"])
def test_other_properties_that_cannot_be_read_count_as_none(shop: SmallShop, value: str) -> None:
    name = served(shop)
    keys = (key.partition(".")[2] for key in (BUILT, SERVED, FILLING, PREVIOUS))
    set_property(shop, name, **dict.fromkeys(keys, value))

    [first, second] = shop.releases()
    assert (first.serves, first.last_served, first.filling, second.previous) == (True, "", "", True)
    assert "\x1b" not in typed(shop, "collections").output
    assert typed(shop, "collections", "prune", "--yes").output == "nothing to drop\n"
    assert shop.run().summary.unchanged == 5
    assert shop.releases()[0].last_served, "a run notes it again"


def test_a_search_through_an_alias_that_serves_no_collection_of_ours_says_so(shop: SmallShop) -> None:
    name = served(shop)
    set_property(shop, "theirs", contract="[]")
    with shop.client() as client:
        client.alter_alias("theirs", "products")
    for words in (("search", "--product", "P1"), ("collections",)):
        said = str(typed(shop, *words).exception)
        assert "the alias products serves theirs, whose property ingest.contract cannot be read" in said
    with shop.client() as client:
        client.alter_alias(name, "products")
