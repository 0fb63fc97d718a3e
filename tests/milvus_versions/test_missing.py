"""A product without a price, against each version: one keeps NaN, some null, one only a number that stands for it."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner
from support.fake_encoder import FakeEncoder
from support.shop import contract_in, write_csv
from support.small_shop import FIVE, SmallShop, picture_vector

from ingest.cli.output import hits as hits_
from ingest.core.errors import ContractError, MilvusError
from ingest.pipeline.distributed import cluster, ray_data, workers
from ingest.pipeline.distributed.actor_pool import ActorPool
from ingest.search.milvus_backend import SearchableCollection
from ingest.server import snapshot
from milvus_versions.standin.dialect import Dialect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from milvus_versions.standin.server import Server

PRICES = {"P0": "9.5", "P1": "", "P2": "20", "P3": "0", "P4": ""}
MADE = ("CreateCollection", "DropCollection")


KEPT = {"2.3.5": {}, "2.4.23": {"price": -1.0}, "2.5.27": {"price": None}, "2.6.16": {"price": None}}
KEPT |= {"3.0.0": {"price": None}}
"""What a collection's contract says about missing numbers if the field has `missing = -1`."""
PROBED = {"2.3.5": 1, "2.4.23": 1, "2.5.27": 0, "2.6.16": 0, "3.0.0": 0}
"""Rows that a probe writes."""


class Priced(SmallShop):
    """A small shop with prices, of which some are missing, under a contract that may have a number for them."""

    def __init__(self, folder: Path, uri: str, missing: str = "") -> None:
        schema = contract_in(folder, "products")
        super().__init__(folder, uri, schema=schema)
        if missing:
            text = schema.read_text(encoding="utf-8")
            schema.write_text(text.replace("default = nan", f"default = nan\nmissing = {missing}\n#", 1), "utf-8")
        self.stock(FIVE)
        self.price(PRICES)

    def price(self, prices: dict[str, str]) -> None:
        rows = [
            {"product_id": name, "image": f"images/{picture}.png", "title": title, "price": prices.get(name, "")}
            for name, (picture, title) in FIVE.items()
        ]
        write_csv(self.settings.catalog, rows)

    @contextmanager
    def served(self) -> Iterator[SearchableCollection]:
        with self.connection() as connection:
            yield SearchableCollection(connection, "products")

    def found(self, expression: str = "") -> dict[str, Any]:
        """Return what a search finds: ids and prices."""
        with self.served() as served:
            hits = served.search(picture_vector("model-1", 0), 10, expression)
        return {hit.product_id: hit.metadata["price"] for hit in hits}


@pytest.fixture
def shop(server: Server, tmp_path: Path) -> Priced:
    return Priced(tmp_path, server.uri, missing="-1")


def kept(server: Server) -> list[Any]:
    """Return the prices as they lie in the collection."""
    return [row["price"] for _, row in sorted(server.collection("products").rows.items())]


def test_a_missing_price_is_missing_whatever_the_server_keeps(server: Server, shop: Priced) -> None:
    assert shop.run().summary.upserted == 5
    assert shop.found() == {"P0": 9.5, "P1": None, "P2": 20.0, "P3": 0.0, "P4": None}
    assert not shop.verify().differing
    with shop.served() as served:
        assert served.contract.get("missing", {}) == KEPT[str(server.dialect)]
        assert served.values("price") == {"P0": 9.5, "P1": None, "P2": 20.0, "P3": 0.0, "P4": None}
        assert served.products(["P4"])["P4"].metadata["price"] is None
    with shop.connection() as connection:
        taken = snapshot.take(connection, served.name, served.contract)
    price = next(facet for facet in taken.facets if facet.name == "price")
    assert (price.low, price.high, price.missing) == (0.0, 20.0, KEPT[str(server.dialect)].get("price"))
    assert taken.plane.fields["price"] == [9.5, None, 20.0, 0.0, None]


def test_a_second_run_writes_nothing_and_does_not_probe(server: Server, shop: Priced) -> None:
    shop.run()
    server.forget()
    assert shop.run().summary.unchanged == 5
    assert not server.requests("Upsert", "Delete", "AlterCollection", *MADE)
    assert server.collections() == [server.collection("products").name]


def test_commands_that_read_do_not_probe_and_foresee_no_change(server: Server, shop: Priced) -> None:
    shop.run()
    server.forget()
    found = shop.plan()
    assert (found.unchanged, found.collection, found.also) == (5, found.served, [])
    assert not shop.verify().differing
    assert not server.requests("Upsert", "AlterCollection", *MADE)


def test_what_was_killed_amid_a_probe_is_swept_by_a_later_run(server: Server, shop: Priced) -> None:
    shop.run()
    with shop.client() as client:
        old = f"products_probe_{int(time.time()) - 3600:08x}00000000"
        new = f"products_probe_{int(time.time()):08x}00000000"
        for name in (old, new, "products_probe_000000000000"):
            client.create_collection(name, dimension=4)
    shop.run()
    probes = [name for name in server.collections() if "_probe_" in name]
    assert probes == sorted([new, "products_probe_000000000000"]), "another run's, and a release of another alias, stay"


@pytest.mark.parametrize("dialect", ["2.4.23"], indirect=True)
def test_without_a_number_for_it_the_run_is_refused_before_anything_is_made(server: Server, tmp_path: Path) -> None:
    shop = Priced(tmp_path, server.uri)
    with pytest.raises(ContractError, match=r"contract.toml: P1 has no price, .* missing = -1.0, .* 2\.5$"):
        shop.run()
    assert server.collections() == []
    assert shop.embedded == 0
    shop.price(dict.fromkeys(FIVE, "3"))
    assert shop.run().summary.upserted == 5, "a catalog without missing prices needs no number for them"
    shop.price(PRICES)
    with pytest.raises(ContractError, match="P1 has no price"):
        shop.plan()


@pytest.mark.parametrize("dialect", ["2.4.23"], indirect=True)
def test_a_cell_with_the_number_for_missing_ones_is_missing(server: Server, shop: Priced) -> None:
    shop.price(PRICES | {"P0": "-1"})
    shop.run()
    assert kept(server) == [-1.0, -1.0, 20.0, 0.0, -1.0]
    assert shop.found()["P0"] is None
    assert not shop.verify().differing


@pytest.mark.parametrize("dialect", ["2.3.5"], indirect=True)
def test_an_upgraded_server_gets_a_collection_with_null_and_nothing_is_embedded_again(
    server: Server, tmp_path: Path
) -> None:
    shop = Priced(tmp_path, server.uri)
    shop.run()
    before, embedded = server.collection("products").name, shop.embedded
    server.dialect = Dialect("2.6.16")
    [foreseen] = shop.plan().also
    assert foreseen.startswith(
        "find out how Milvus v2.6.16 keeps missing numbers, and if not as NaN, fill a collection"
    )
    assert shop.run().summary.upserted == 5
    assert server.collection("products").name != before
    assert kept(server) == [9.5, None, 20.0, 0.0, None]
    assert before in server.collections()
    assert shop.embedded == embedded
    assert shop.plan().also == []


@pytest.mark.parametrize("dialect", ["2.3.5"], indirect=True)
def test_another_version_that_keeps_them_alike_changes_no_row(server: Server, tmp_path: Path) -> None:
    shop = Priced(tmp_path, server.uri)
    shop.run()
    name = server.collection("products").name
    server.dialect = Dialect("2.4.1")
    server.forget()
    assert shop.run().summary.unchanged == 5
    assert server.collection("products").name == name
    assert [request.message.collection_name.partition("_")[2][:6] for request in server.requests(*MADE)] == [
        "probe_"
    ] * 2
    server.forget()
    shop.run()
    assert not server.requests(*MADE)


@pytest.mark.parametrize("dialect", ["2.3.5"], indirect=True)
def test_who_may_make_no_collection_goes_on_as_before(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = Priced(tmp_path, server.uri)
    shop.run()
    server.dialect = Dialect("2.6.16")
    server.fail("CreateCollection", 65535, "PrivilegeCreateCollection privilege not permitted")
    assert shop.run().summary.unchanged == 5
    assert "missing numbers are written as NaN, as before" in caplog.text


def test_a_user_who_may_not_create_collections_in_an_empty_database_gets_an_error(server: Server, shop: Priced) -> None:
    server.fail("CreateCollection", 65535, "PrivilegeCreateCollection privilege not permitted")
    with pytest.raises(MilvusError, match="privilege not permitted"):
        shop.run()
    assert server.collections() == []


def test_a_probe_is_made_in_the_database_of_the_run(server: Server, shop: Priced) -> None:
    with shop.client() as client:
        client.create_database("shop")
    server.forget()
    shop.run(db_name="shop")
    made = server.requests("Upsert", *MADE)
    assert {request.in_metadata for request in made} == {"shop"}
    assert not [name for name in (*server.collections("shop"), *server.collections()) if "_probe_" in name]


def test_nothing_is_tried_where_the_alias_is_a_collection(server: Server, shop: Priced) -> None:
    with shop.client() as client:
        client.create_collection("products", dimension=4)
    with pytest.raises(MilvusError, match="products is a collection, not an alias"):
        shop.run()
    assert server.collections() == ["products"]
    assert len(server.requests("CreateCollection")) == 1


def test_a_contract_without_numbers_that_may_be_missing_is_not_probed(server: Server, tmp_path: Path) -> None:
    shop = Priced(tmp_path, server.uri)
    schema = shop.settings.schema
    schema.write_text(schema.read_text("utf-8").replace("default = nan", "default = 0.0"), "utf-8")
    shop.run()
    assert len(server.requests("CreateCollection")) == 1
    assert not server.requests("DropCollection")


def test_filters_leave_out_what_is_missing_where_the_server_has_null(server: Server, shop: Priced) -> None:
    shop.run()
    stands_for_it = {"P1": None, "P4": None} if server.dialect.version == "2.4.23" else {}
    assert shop.found("price < 10") == {"P0": 9.5, "P3": 0.0} | stands_for_it
    assert shop.found("price < 10 and price != -1") == {"P0": 9.5, "P3": 0.0}


def test_an_import_takes_rows_without_a_price_where_it_can(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "import"
    shop = Priced(tmp_path, server.uri, missing="-1")
    server.import_folders["/import"] = str(folder)
    run = shop.run(load="bulk", bulk_folder=folder, bulk_path="/import")
    assert run.summary.upserted == 5
    keeps_nan = str(server.dialect) == "2.3.5"
    assert (
        sum(request.message.num_rows for request in server.requests("Upsert"))
        == (2 if keeps_nan else 0) + PROBED[str(server.dialect)]
    )
    assert shop.found() == {"P0": 9.5, "P1": None, "P2": 20.0, "P3": 0.0, "P4": None}
    assert not shop.verify().differing


def test_it_is_missing_in_every_output(server: Server, shop: Priced, tmp_path: Path) -> None:
    shop.run()
    with shop.served() as served:
        hits = served.search(picture_vector("model-1", 0), 10)
    found = [hits_.SearchResult("all", hits)]
    runner = CliRunner()

    def shown(**outputs: Any) -> str:
        @click.command()
        def show() -> None:
            asked = {"as_json": False, "as_csv": False, "html": None, "pictures": False} | outputs
            hits_.show(found, shop.settings, hits_.HitsOutput(**asked), several=False)

        return runner.invoke(show, catch_exceptions=False).output

    rows = {row["product_id"]: row for row in json.loads(shown(as_json=True), parse_constant=pytest.fail)}
    assert {name: row["price"] for name, row in rows.items()} == {"P0": 9.5, "P1": None, "P2": 20, "P3": 0, "P4": None}
    table = list(csv.DictReader(io.StringIO(shown(as_csv=True))))
    assert {row["product_id"]: row["price"] for row in table}["P1"] == ""
    shown(html=tmp_path / "sheet.html")
    sheet = (tmp_path / "sheet.html").read_text("utf-8")
    assert sorted(re.findall('class="price">([^<]*)<', sheet)) == ["0.0", "20.0", "9.5"]
    assert not re.search(r"\b(nan|none|null|-1(\.0)?)\b", shown(), re.IGNORECASE)


def test_workers_of_a_cluster_write_them_as_the_driver_has_them(
    server: Server, shop: Priced, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked(blocks: Iterable[Any], job: workers.Job, stored: Any, *_: Any, **__: Any) -> Iterator[Any]:
        embed, upsert = workers.Embedder(job), workers.Upserter(job, stored)
        yield from (upsert(embed(workers.prepare(block, job, stored))) for block in blocks)

    monkeypatch.setattr(cluster, "connect", nullcontext)
    monkeypatch.setattr(cluster, "wait_for_room", lambda *_: ActorPool(1, 1, 0, 1))
    monkeypatch.setattr(ray_data, "put", lambda _number, block: block)
    monkeypatch.setattr(ray_data, "run_blocks", worked)
    monkeypatch.setattr(workers, "ClipEncoder", lambda checkpoint, *_: FakeEncoder(checkpoint.space))
    assert shop.run(engine="ray").summary.upserted == 5
    assert shop.found() == {"P0": 9.5, "P1": None, "P2": 20.0, "P3": 0.0, "P4": None}
    assert not shop.verify().differing
