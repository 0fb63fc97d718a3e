"""Ways in which products drop out of a run, and what is then found, exported, said and returned: a table, walked."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import nights
import pytest
from http_server import Answer, Server
from nights import FIVE, ONE, Seen, Shop, another_schema, broken
from shop import ROOT

from ingest.records import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table below a heading, by their first cell."""
    found = re.search(r"(?:^\|.*\n)+", OPERATIONS.split(f"{heading}\n", 1)[1], re.MULTILINE)
    assert found
    cells = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in found[0].splitlines()[2:]]
    return {row[0]: row[1:] for row in cells}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def good_night(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop after a night on which all went well. Not to be written to."""
    shop = Shop(tmp_path_factory.mktemp("good") / "shop", server)
    assert shop.night().code == 0
    return shop


@pytest.fixture
def shop(good_night: Shop, tmp_path: Path) -> Shop:
    return good_night.copied_to(tmp_path / "shop")


@pytest.fixture
def new_shop(server: Server, tmp_path: Path) -> Shop:
    return Shop(tmp_path / "new", server)


def assert_all_say_the_same(seen: Seen) -> None:
    """The terminal, the report, `status` and the page agree on what is served and how the run ended."""
    assert (seen.first.startswith("not live: ")) == (seen.code == 10)
    if seen.code:
        assert seen.err.splitlines()[-1].startswith("ingest: ")
    if seen.code == 10:
        assert seen.err.splitlines()[-1] == f"ingest: {seen.first}"
    report = seen.report
    assert (report["served"], report["collection"], report["exit_code"]) == (seen.served, seen.collection, seen.code)
    assert (seen.page.served, seen.page.collection, seen.page.failure) == (
        seen.served, seen.collection, report["failure"],
    )  # fmt: skip
    assert seen.page.outcome == report["outcome"]
    said = f"last run {report['started']}: {report['outcome']}; then products served {seen.served or 'nothing'}"
    assert seen.status.startswith(said)
    for text in (seen.out, json.dumps(report)):
        assert [name for name in re.findall(r"products, now (\w+)", text) if name != seen.served] == []
    if seen.served != seen.collection:
        assert f"products {'still serves ' + seen.served if seen.served else 'serves nothing'}" in seen.out
        assert "Try next" not in seen.out
    assert max(map(len, seen.out.splitlines())) < 400


REASONS = table("## What drops out, and what is served then")


def test_the_table_of_reasons_has_them_all_with_what_to_do():
    assert list(REASONS) == [reason.value for reason in Reason]
    for reason in Reason:
        assert REASONS[reason.value][0] == ("yes" if reason.heals else "no")
        assert REASONS[reason.value][1] == reason.remedy
    assert set(Reason) - set(nights.BREAKS) == {Reason.KILLED_WORKER}


@pytest.mark.parametrize("names", [ONE, FIVE], ids=["one", "all"])
@pytest.mark.parametrize("reason", nights.BREAKS, ids=lambda reason: reason.value)
def test_whatever_drops_out_the_table_says_what_is_served(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, reason: Reason, names: list[str]
) -> None:
    nights.make_nothing_of_white(monkeypatch)
    before = shop.rows()
    arguments = broken(shop, reason, names)

    seen = shop.night(*arguments)

    assert_all_say_the_same(seen)
    assert f"{seen.filled}; {seen.exports}; {seen.code}" == REASONS[reason.value][2 if names is ONE else 3]
    count = len(names) - (reason is Reason.DUPLICATE_ID and names is FIVE)
    assert re.search(rf"^ +{count} skipped: {reason.value}, for example line \d: .+$", seen.out, re.MULTILINE)
    assert seen.alias == "this run's"
    after = shop.rows()
    if reason is not Reason.FOREIGN_ROW:
        assert after == before, "rows stay as they last were"
    if count == len(FIVE):
        assert re.match(rf"not live: none of the \d products could be used \(\w+ {reason}\); ", seen.first)
        assert f"); {reason.remedy}; " in seen.first


def flags(reason: Reason | None, names: list[str], *more: str) -> Callable[[Shop], list[str]]:
    """Let these products fail for a reason, under these flags."""
    return lambda shop: [*(broken(shop, reason, names) if reason else []), *more]


def in_a_new_schema(then: Callable[[Shop], list[str]]) -> Callable[[Shop], list[str]]:
    return lambda shop: [*then(shop), *another_schema(shop)]


def without(*names: str, flags: tuple[str, ...] = ()) -> Callable[[Shop], list[str]]:
    """Let these products leave the catalog."""

    def left(shop: Shop) -> list[str]:
        shop.catalog = [row for row in shop.catalog if row["product_id"] not in names]
        return list(flags)

    return left


FIRST_NIGHTS: dict[str, Callable[[Shop], list[str]]] = {
    "the first night, one of five fails": flags(Reason.NOT_FOUND, ONE),
    "the first night, all fail": flags(Reason.NOT_DOWNLOADED, FIVE),
    "the first night, one fails, `--max-skipped 0`": flags(Reason.NOT_FOUND, ONE, "--max-skipped", "0"),
}
LATER_NIGHTS: dict[str, Callable[[Shop], list[str]]] = {
    "nothing fails": flags(None, []),
    "one fails": flags(Reason.BAD_METADATA, ONE),
    "one fails, `--max-skipped 0`": flags(Reason.BAD_METADATA, ONE, "--max-skipped", "0"),
    "one fails, `--drop-failed`": flags(Reason.BAD_METADATA, ONE, "--drop-failed"),
    "all fail": flags(Reason.BAD_METADATA, FIVE),
    "all fail, `--drop-failed`": flags(Reason.BAD_METADATA, FIVE, "--drop-failed"),
    "all fail, `--allow-smaller`": flags(Reason.BAD_METADATA, FIVE, "--allow-smaller"),
    "one left the catalog": without("P1"),
    "one left the catalog, `--prune`": without("P1", flags=("--prune",)),
    "two left the catalog": without("P1", "P2"),
    "two left the catalog, `--allow-smaller`": without("P1", "P2", flags=("--allow-smaller",)),
    "two left the catalog, `--prune`": without("P1", "P2", flags=("--prune",)),
    "`--sample 2`": flags(None, [], "--sample", "2"),
    "another schema": in_a_new_schema(flags(None, [])),
    "another schema, one fails for good": in_a_new_schema(flags(Reason.BAD_METADATA, ONE)),
    "another schema, one is not downloaded": in_a_new_schema(flags(Reason.NOT_DOWNLOADED, ONE)),
    "another schema, one times out": in_a_new_schema(flags(Reason.CONNECT, ONE)),
    "another schema, one times out, `--max-skipped 1`": in_a_new_schema(
        flags(Reason.CONNECT, ONE, "--max-skipped", "1")
    ),
    "another schema, one fails, `--max-skipped 0`": in_a_new_schema(
        flags(Reason.BAD_METADATA, ONE, "--max-skipped", "0")
    ),
    "another schema, all fail": in_a_new_schema(flags(Reason.BAD_METADATA, FIVE)),
    "another schema, `--sample 2`": in_a_new_schema(flags(None, [], "--sample", "2")),
    "another model": flags(None, [], "--model", "model-2"),
    "another model, one fails": flags(Reason.BAD_METADATA, ONE, "--model", "model-2"),
    "another model, all fail": flags(Reason.BAD_METADATA, FIVE, "--model", "model-2"),
}
NIGHTS = table("### Other nights")


def test_the_table_of_nights_has_those_that_are_walked():
    assert list(NIGHTS) == [*FIRST_NIGHTS, *LATER_NIGHTS]


@pytest.mark.parametrize("name", FIRST_NIGHTS | LATER_NIGHTS)
def test_whatever_the_night_the_table_says_what_is_served(shop: Shop, new_shop: Shop, name: str) -> None:
    its = new_shop if name in FIRST_NIGHTS else shop
    arguments = (FIRST_NIGHTS | LATER_NIGHTS)[name](its)

    seen = its.night(*arguments)

    assert_all_say_the_same(seen)
    clause = seen.first.removeprefix("not live: ").split(";")[0] if seen.code == 10 else ""
    told = [str(seen.filled), seen.alias, seen.exports, str(seen.code), seen.report["outcome"], clause]
    assert told == NIGHTS[name]
