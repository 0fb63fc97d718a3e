"""The installed command against each version, for a shop with all that is awkward (`shops`)."""

from __future__ import annotations

import math
import signal
from typing import TYPE_CHECKING

import pytest
from support.service import Service, serving
from support.shop import copied_sample_model

from milvus_versions.shops import DATABASE, IDS, ODD, REPLICAS, UNPRICED, WIDE, Served, catalog, open_for, prices
from milvus_versions.standin.dialect import VERSIONS
from milvus_versions.standin.server import serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "shop:secret"
PRICES = {product["product_id"]: float(product["price"]) for product in catalog() if product["price"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied_sample_model(tmp_path_factory.mktemp("model") / "clip")


@pytest.fixture(scope="module", params=VERSIONS)
def served(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Run once for a server of each version, as a user with rights in one database; who has this one only reads."""
    with serve(request.param, users={"shop": "secret"}, grants={"shop": {DATABASE}}) as server:
        made = open_for(tmp_path_factory.mktemp("shop") / "shop", model, server)
        assert made.shop.run(MILVUS_TOKEN=TOKEN)["products"] == len(IDS)
        made.ran = server.requests()
        server.users = {}
        yield made


@pytest.fixture(scope="module")
def service(served: Served) -> Iterator[Service]:
    """Serve it; what that asks of the server stays among its requests."""
    with serving(served.shop) as started:
        yield started


@pytest.fixture
def fresh(served: Served, model: Path, tmp_path: Path) -> Iterator[Served]:
    """Give a shop whose images are embedded, and an empty server of the same version."""
    shop = served.shop.copied_to(tmp_path / "shop")
    with serve(str(served.server.dialect)) as server:
        yield open_for(shop.folder, model, server)


def test_a_run_fills_the_database_that_it_was_given(served: Served) -> None:
    assert sorted(served.collection.rows) == sorted(IDS)
    assert served.collection.replicas == REPLICAS
    assert served.server.collections("default") == []
    assert {len(row["$meta"].get("blurb", "")) for row in served.collection.rows.values()} == {0, WIDE // 2}


def test_every_request_names_the_database_in_its_metadata(served: Served) -> None:
    unnamed = {request.method for request in served.ran if request.in_metadata != DATABASE}
    assert unnamed <= {"Connect"}, "pymilvus' own"


def test_a_missing_price_is_kept_as_the_server_can(served: Served) -> None:
    kept = {name: price for name, price in prices(served).items() if name in UNPRICED}
    assert set(kept) == UNPRICED
    if served.server.dialect.since(2, 5):
        assert set(kept.values()) == {None}
    elif served.server.dialect.since(2, 4):
        assert set(kept.values()) == {-1.0}
    else:
        assert all(math.isnan(price) for price in kept.values())
    assert {name: price for name, price in prices(served).items() if name not in UNPRICED} == pytest.approx(PRICES)


def test_another_run_writes_and_loads_nothing(served: Served) -> None:
    served.server.forget()
    summary = served.shop.run()
    assert (summary["unchanged"], summary["upserted"]) == (len(IDS), 0)
    assert not served.writes()


def test_a_plan_foresees_no_change(served: Served) -> None:
    served.server.forget()
    ended = served.shop.ingest("plan", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["unchanged"] == len(IDS)
    assert not served.writes()


def test_a_verify_finds_all_in_order(served: Served) -> None:
    served.server.forget()
    ended = served.shop.ingest("verify", "--json")
    assert ended.code == 0, ended.err + ended.out
    assert ended.json["differing"] == []
    assert not served.writes()


def test_a_search_shows_no_price_if_there_is_none(served: Served) -> None:
    served.server.forget()
    hits = served.shop.search("a cotton sock", "--limit", str(len(IDS)))
    assert sorted(hit["product_id"] for hit in hits) == sorted(IDS)
    shown = {hit["product_id"]: hit.get("price") for hit in hits}
    assert {name for name, price in shown.items() if price is None} == UNPRICED
    assert {name: price for name, price in shown.items() if price is not None} == pytest.approx(PRICES)
    assert not served.writes()


def test_recommendations_for_an_odd_id_are_made(served: Served) -> None:
    served.server.forget()
    ended = served.shop.ingest("recommend", ODD[0], "--json")
    assert ended.code == 0, ended.err
    assert set(IDS) - {ODD[0]} >= {hit["product_id"] for hit in ended.json} > set()
    assert not served.writes()


def test_the_collections_are_listed(served: Served) -> None:
    served.server.forget()
    (told,) = served.shop.ingest("collections", "--json").json
    assert (told["name"], told["rows"], told["serves"]) == (served.collection.name, len(IDS), True)
    assert not served.writes()


def test_the_service_reads_only(served: Served, service: Service) -> None:
    served.server.forget()
    assert service.search(text="a cotton sock", limit=len(IDS))
    assert service.ask("GET", "readyz").status_code == 200
    facets = {facet["name"]: facet for facet in service.ask("GET", "v1/collection").json()["facets"]}
    assert facets["price"]["low"] == pytest.approx(min(PRICES.values()))
    assert not served.writes()
    assert served.collection.replicas == REPLICAS


def test_the_service_finds_products_with_odd_ids(service: Service) -> None:
    for name in ODD:
        hits = service.search(product_id=name, limit=len(IDS))
        assert {hit["product_id"] for hit in hits} == set(IDS) - {name}


@pytest.mark.parametrize("expression", ["price < 20", "price >= 0", "not (price < 20)", 'blurb like "ü%"'])
def test_a_filter_finds_what_the_version_says_of_a_missing_price(
    served: Served, service: Service, expression: str
) -> None:
    priced = {name: price for name, price in prices(served).items() if name not in UNPRICED}
    expected = {
        "price < 20": {name for name, price in priced.items() if price < 20},
        "price >= 0": set(priced),
        "not (price < 20)": {name for name, price in priced.items() if price >= 20},
        'blurb like "ü%"': {ODD[1], "P0007"},
    }[expression]
    if served.server.dialect.since(2, 4):  # -1, the contract's number for it, is less than 20
        expected |= UNPRICED if expression == "price < 20" and not served.server.dialect.since(2, 5) else set()
    elif expression.startswith("not"):  # NaN is not less than 20
        expected |= UNPRICED
    hits = service.search(text="a cotton sock", limit=len(IDS), filter=expression)
    assert {hit["product_id"] for hit in hits} == expected
    assert all(hit["fields"].get("price") is None for hit in hits if hit["product_id"] in UNPRICED)


def test_another_contract_fills_another_collection_and_a_rollback_goes_back(fresh: Served) -> None:
    shop, server = fresh.shop, fresh.server
    server.alias_stale = 3
    shop.run()
    before = fresh.collection.name
    contract = shop.folder / "contract.toml"
    contract.write_text(contract.read_text(encoding="utf-8").replace("M = 16 ", "M = 24 "), encoding="utf-8")
    shop.run()
    after = fresh.collection.name
    assert after != before
    assert sorted(fresh.collection.rows) == sorted(IDS)
    ended = shop.ingest("rollback", "--json")
    assert ended.code == 0, ended.err
    assert fresh.collection.name == before
    assert {name: server.collection(name, DATABASE).replicas for name in (before, after)} == {
        before: REPLICAS, after: REPLICAS,
    }  # fmt: skip


def test_a_killed_run_is_finished_by_the_next(fresh: Served) -> None:
    release = fresh.server.hold("Upsert", done_first=True, but_for="_probe_")
    running = fresh.shop.started("run")
    assert release.reached.wait(60)
    running.send_signal(signal.SIGKILL)
    assert running.wait(30) == -signal.SIGKILL
    release.set()
    assert fresh.server.collection("products", DATABASE) is None
    assert fresh.shop.run()["products"] == len(IDS)
    assert sorted(fresh.collection.rows) == sorted(IDS)
    assert len(fresh.server.collections(DATABASE)) == 1


def test_a_bulk_load_goes_to_this_database_and_not_to_its_twin(fresh: Served, tmp_path: Path) -> None:
    shop, server = fresh.shop, fresh.server
    twin = server.catalog.databases["default"]
    folder = tmp_path / "import"
    server.import_folders = {"/import": str(folder)}
    shop.run("--load", "bulk", "--bulk-folder", folder, "--bulk-path", "/import")
    assert sorted(fresh.collection.rows) == sorted(IDS)
    assert not fresh.collection.doubles
    assert not twin.collections
    assert {job.database for job in server.jobs.values()} == {DATABASE}
    assert not list(folder.iterdir())
