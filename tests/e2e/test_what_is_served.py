"""Ways in which products drop out of a run, and what is then found, exported, said and returned: a table, walked."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support import nights
from support.http_server import Server
from support.nights import FIVE, ONE, Seen, Shop, another_schema, broken
from support.shop import ROOT, sample_products, write_csv

from ingest.core.errors import InterruptedRunError
from ingest.core.records import Reason
from ingest.core.wording import minute
from ingest.milvus.collection import Collection
from ingest.pipeline.progress import Progress
from ingest.runtime.lock import lock_folder
from ingest.tasks import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.conftest import Finished

PRODUCTS = 40
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
    said = f"last run {minute(report['started'])}: {report['outcome']}; then products served {seen.served or 'nothing'}"
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
        assert REASONS[reason.value][0] == ("yes" if reason.is_transient else "no")
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


def lose_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a row vanish before the new collection is proven."""
    flush = Collection.flush

    def lose_one(collection: Collection) -> None:
        collection.delete(["P3"])
        flush(collection)

    monkeypatch.setattr(Collection, "flush", lose_one)


def take_the_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have somebody else set the alias while the run works."""
    check_untaken = Collection.check_not_taken

    def take(collection: Collection) -> None:
        collection.connection.client.create_collection("theirs", dimension=4)
        collection.connection.client.alter_alias("theirs", "products")
        check_untaken(collection)

    monkeypatch.setattr(Collection, "check_not_taken", take)


SEVERAL: dict[tuple[int, ...], tuple[Callable[[Shop], list[str]], Callable[[pytest.MonkeyPatch], None] | None]] = {
    (6, 5): (flags(None, [], "--device", "gpu", "--uri", "http://127.0.0.1:9"), None),
    (5, 10): (without("P1", "P2"), take_the_alias),
    (7, 10): (in_a_new_schema(without("P1", "P2")), lose_a_row),
    (10, 3): (without("P1", "P2", flags=("--prune",)), None),
    (10, 4): (flags(Reason.BAD_METADATA, FIVE, "--max-skipped", "0"), None),
    (3, 4): (
        lambda shop: [*without("P3", "P4", flags=("--prune", "--no-exports", "--max-skipped", "0"))(shop),
                      *broken(shop, Reason.BAD_METADATA, ONE)],
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("codes", SEVERAL, ids=str)
def test_where_several_hold_the_exit_code_is_the_first_in_the_table(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, codes: tuple[int, ...]
) -> None:
    order = [int(code) for code in table("### Which exit code")]
    assert min(codes, key=order.index) == codes[0]
    breaks, meddle = SEVERAL[codes]
    arguments = breaks(shop)
    before = shop.exported()
    if meddle:
        meddle(monkeypatch)

    code, _, err = shop.run_as_typed(*arguments)

    assert code == codes[0], err
    assert err.splitlines()[-1].startswith("ingest: ")
    monkeypatch.undo()
    assert shop.exported() == before


def test_a_folder_that_is_held_is_said_before_a_model_that_cannot_be_used(shop: Shop) -> None:
    with lock_folder(shop.settings.data):
        assert shop.run_as_typed("--device", "gpu")[0] == 8


def test_a_new_folder_is_not_made_for_a_model_that_cannot_be_used(new_shop: Shop) -> None:
    assert new_shop.run_as_typed("--device", "gpu")[0] == 6
    assert not new_shop.settings.data.exists()


def test_an_interrupted_run_is_that_and_nothing_else(shop: Shop) -> None:
    broken(shop, Reason.BAD_METADATA, FIVE)
    write_csv(shop.settings.catalog, shop.catalog)
    stop = threading.Event()
    stop.set()
    with shop.faked(), pytest.raises(InterruptedRunError):
        run.run(replace(shop.settings, exports=True, max_skipped="0"), Progress(), stop)
    report = shop.report()
    assert (report["outcome"], report["served"]) == ("interrupted", report["collection"])


def test_a_schema_and_back_is_served_though_one_image_is_never_downloaded(new_shop: Shop) -> None:
    """Each night the same command without --download-missing: nothing that only another flag heals may hold it up."""
    broken(new_shop, Reason.NOT_DOWNLOADED, ONE)
    first = new_shop.night()
    other = new_shop.night(*another_schema(new_shop))
    back = new_shop.night()

    for seen in (first, other, back):
        assert (seen.code, seen.alias, seen.filled) == (0, "this run's", 4)
        assert f"products, now {seen.served}" in seen.out
    assert first.served == back.served != other.served


def test_a_plan_says_what_is_served_and_ends_as_the_run_would(shop: Shop) -> None:
    broken(shop, Reason.BAD_METADATA, FIVE)
    code, out, err = shop.run_as_typed("--dry-run", *another_schema(shop))

    served = shop.report()["served"]
    first = out.splitlines()[0]
    assert code == 10
    assert first == (
        "a run would not go live: none of the 5 products could be used (all bad metadata); "
        "correct the catalog, as skipped.csv says"
    )
    assert err.splitlines()[-1] == f"ingest: {first}"
    assert f"note: the alias serves {served}, and switches when products_" in out
    assert "5 skipped: bad metadata, for example line 2: price is 'cheap'" in out


def test_an_example_is_bounded_and_has_no_control_characters_and_no_secrets(shop: Shop) -> None:
    shop.catalog[0]["price"] = "https://user:secret@shop.example/a?token=secret\x1b[31m" + "9" * 500
    shop.catalog[1]["image"] = "ftp://user:secret@shop.example/1.png?key=secret"

    seen = shop.night("--token", "a-token-of-mine")

    examples = [line for line in seen.out.splitlines() if "for example" in line]
    assert len(examples) == 2
    assert all(len(line) < 200 and line.isprintable() for line in examples)
    assert "secret" not in seen.out
    assert "secret" not in json.dumps(seen.report["examples"])


def test_the_installed_command_says_it_on_the_terminal_at_night_and_in_the_morning(
    finished: Finished, tmp_path: Path
) -> None:
    installed = finished.shop.copied_to(tmp_path / "installed")
    before = installed.exports
    installed.stock([{**product, "price": "cheap"} for product in sample_products(PRODUCTS)])

    night = installed.ingest("run", "--quiet")
    morning = installed.ingest("status")

    assert night.code == 10
    first = night.out.splitlines()[0]
    assert first.startswith(f"not live: none of the {PRODUCTS} products could be used (all bad metadata); correct the")
    assert night.said == [f"ingest: {first}"]
    assert f"{PRODUCTS} skipped: bad metadata, for example line 2: price is 'cheap'" in night.out
    assert installed.exports == before
    assert len(installed.rows()) == PRODUCTS
    assert "not live; then products served products_" in morning.out.splitlines()[0]
    assert morning.out.splitlines()[1] == f"  {first}"


def test_the_page_has_how_the_run_ended_and_what_is_served(shop: Shop) -> None:
    broken(shop, Reason.CONNECT, ONE)
    seen = shop.night("--download-missing", "--allow-private", *another_schema(shop))

    assert seen.page.outcome == "not live"
    assert seen.page.served != seen.page.collection
    assert "1 image could not be fetched today; run again" in seen.page.failure
