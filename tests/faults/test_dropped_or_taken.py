"""Somebody else drops the collection, or takes the alias, under a run: one line at once, and the next run heals it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.shop import client_of

from faults.many import SHARING, ManyProducts

if TYPE_CHECKING:
    from pathlib import Path

    from faults.forked import Forked

PRODUCTS = 2400
WAITING = ("--max-wait", "600")
"""Far longer than a test may take: none of this passes by waiting."""
BEFORE_THE_FIRST, AMIDST = ("upserting", 1), ("upserting", 2)
"""Between the plan and the first of three upserts; in the middle of them."""
SOAK = bool(os.environ.get("INGEST_SOAK"))


@pytest.fixture
def shop(where: str, tmp_path: Path, tiny_clip: Path, request: pytest.FixtureRequest) -> ManyProducts:
    if where == "Lite":
        return ManyProducts(tmp_path / "shop", tiny_clip, PRODUCTS)
    uri, alias = request.getfixturevalue("milvus_uri"), request.getfixturevalue("collection_name")
    return ManyProducts(tmp_path / "shop", tiny_clip, PRODUCTS, uri, alias)


def only_line(said: list[str]) -> str:
    (line,) = said
    assert line.startswith("ingest: Milvus at "), line
    return line


def dropped(forked: Forked, shop: ManyProducts, moment: tuple[str, int], what: str = "drop") -> None:
    """Run, have the collection dropped, and see that this is told."""
    code, said = shop.run(forked, *WAITING, meddle=(*moment, what))
    line = only_line(said)
    assert code == 5
    assert f" {shop.alias}_" in line, "it names the collection"
    assert "was it dropped during this run? Run again: it is filled from the store" in line


@pytest.mark.parametrize("where", ["a server", "Lite"])
def test_a_collection_dropped_under_a_run_is_told_at_once_and_filled_anew(forked: Forked, shop: ManyProducts) -> None:
    dropped(forked, shop, BEFORE_THE_FIRST)
    dropped(forked, shop, AMIDST, "drop served")
    code, said = shop.run(forked, *WAITING)
    assert code == 0, said
    assert shop.served().startswith(f"{shop.alias}_")
    assert shop.rows() == shop.ids
    assert shop.embedded() == PRODUCTS // SHARING, "all vectors were in the store"


@pytest.mark.skipif(not SOAK, reason="takes a minute: INGEST_SOAK=1")
@pytest.mark.parametrize("where", ["a server", "Lite"])
@pytest.mark.parametrize("moment", [AMIDST, ("flushing", 1), ("alias moving", 1)], ids=str)
def test_dropped_at_any_moment_it_is_told_and_filled_anew(
    forked: Forked, shop: ManyProducts, moment: tuple[str, int]
) -> None:
    dropped(forked, shop, moment)
    assert shop.run(forked, *WAITING)[0] == 0
    assert shop.rows() == shop.ids


@pytest.mark.parametrize("where", ["a server", "Lite"] if SOAK else ["Lite"])
@pytest.mark.parametrize("moment", [AMIDST, ("flushing", 1), ("alias moving", 1)] if SOAK else [AMIDST], ids=str)
def test_an_alias_taken_under_a_run_is_left_to_the_other_and_no_row_is_lost(
    forked: Forked, shop: ManyProducts, moment: tuple[str, int]
) -> None:
    code, said = shop.run(forked, *WAITING, meddle=(*moment, "take"))
    assert code == 5
    assert f"somebody else has moved the alias {shop.alias} to others_{shop.alias} meanwhile" in only_line(said)
    assert shop.served() == f"others_{shop.alias}"

    code, said = shop.run(forked, *WAITING)
    assert code == 5
    assert f"the alias {shop.alias} serves others_{shop.alias}, which ingest did not build" in only_line(said)

    with client_of(shop.uri) as client:
        client.drop_alias(shop.alias)
    code, said = shop.run(forked, *WAITING)
    assert code == 0
    assert f"0 upserted, {PRODUCTS:,} unchanged" in said[0]
    assert shop.rows() == shop.ids


@pytest.mark.skipif(not SOAK, reason="takes half a minute: INGEST_SOAK=1")
@pytest.mark.parametrize("where", ["a server", "Lite"])
def test_an_alias_that_is_right_and_taken_under_a_run_is_told_too(forked: Forked, shop: ManyProducts) -> None:
    assert shop.run(forked)[0] == 0
    catalog = shop.folder / "products.csv"
    catalog.write_text(catalog.read_text().replace("a title", "another title", 40))
    code, said = shop.run(forked, meddle=("upserting", 1, "take"))
    assert code == 5
    assert f"somebody else has moved the alias {shop.alias} to others_{shop.alias} meanwhile" in only_line(said)
