"""The same catalog into a real server as into Milvus Lite, and what only a server can get wrong."""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pymilvus import DataType, MilvusClient
from support.shop import (
    Ended,
    Row,
    Shop,
    client_of,
    contract_in,
    copied_sample_model,
    perturbed_model,
    rows_of,
    sample_products,
    spied,
    wait_until,
)

from ingest.core import contract as contracts
from ingest.core import contract_file
from ingest.embedding.checkpoint import resolve

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from ingest.core.contract import Contract, Space

PRODUCTS = 60
FEW = 20
SECRET = "s3cret-of-nobody"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied_sample_model(tmp_path_factory.mktemp("model") / "clip")


@pytest.fixture(scope="module")
def lite(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop that was run into Milvus Lite, so that its copies have all vectors and need no model."""
    shop = Shop(tmp_path_factory.mktemp("lite") / "shop", model)
    shop.stock(sample_products(PRODUCTS))
    shop.run()
    return shop


class Remote:
    """A copy of that shop whose commands go to the server, under an alias of the test's own."""

    def __init__(self, shop: Shop, uri: str, alias: str) -> None:
        self.shop = shop
        self.uri = uri
        self.alias = alias
        self.schema = contract_in(shop.folder, alias)

    def ingest(self, command: str, *arguments: str | Path, **environment: str | Path) -> Ended:
        return self.shop.ingest(command, "--uri", self.uri, "--schema", self.schema, *arguments, **environment)

    def run(self, *arguments: str | Path, **environment: str | Path) -> dict[str, Any]:
        return self.shop.run("--uri", self.uri, "--schema", self.schema, *arguments, **environment)

    def search(self, *arguments: str | Path) -> list[dict[str, Any]]:
        return self.shop.search("--uri", self.uri, "--schema", self.schema, *arguments)

    def rows(self) -> dict[str, Row]:
        return rows_of(self.uri, self.alias)

    @property
    def contract(self) -> Contract:
        return contract_file.load(self.schema)

    @property
    def space(self) -> Space:
        return resolve(str(self.shop.model)).space

    @property
    def physical(self) -> str:
        return contracts.collection_name(self.contract, self.space)


@pytest.fixture
def remote(lite: Shop, milvus_uri: str, collection_name: str, tmp_path: Path) -> Remote:
    return Remote(lite.copied_to(tmp_path / "shop"), milvus_uri, collection_name)


def test_rows_go_into_the_database_that_is_named_and_no_other(remote: Remote, collection_name: str) -> None:
    client = MilvusClient(remote.uri)
    database = f"{collection_name}_shop"
    client.create_database(database)
    assert remote.run("--db-name", database)["upserted"] == PRODUCTS
    inside = MilvusClient(remote.uri, db_name=database)
    found = inside.query(remote.alias, "", output_fields=["count(*)"], consistency_level="Strong")
    assert found[0]["count(*)"] == PRODUCTS
    assert remote.physical not in client.list_collections()
    assert remote.run("--db-name", database)["upserted"] == 0
    inside.drop_alias(remote.alias)
    inside.drop_collection(remote.physical)
    inside.close()
    client.close()


@pytest.fixture
def client(milvus_uri: str) -> Iterator[MilvusClient]:
    with client_of(milvus_uri) as client:
        yield client


def did(summary: dict[str, Any]) -> tuple[int, int, int]:
    return summary["embedded"], summary["upserted"], summary["unchanged"]


def count(client: MilvusClient, name: str) -> int:
    return int(client.query(name, filter="", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"])


def create(client: MilvusClient, name: str, dim: int, fields: dict[str, DataType], m: int = 16) -> None:
    """Make a collection as the shipped contract has it, but for what is given."""
    schema = client.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("product_id", DataType.VARCHAR, is_primary=True, max_length=128)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dim)
    for field, kind in fields.items():
        schema.add_field(field, kind, **({"max_length": 1024} if kind == DataType.VARCHAR else {}))
    index = client.prepare_index_params()
    index.add_index("embedding", index_type="HNSW", metric_type="IP", params={"M": m, "efConstruction": 200})
    client.create_collection(name, schema=schema, index_params=index, consistency_level="Strong")


TEXTS = ("row_digest", "image_sha256", "title", "category", "colour", "brand", "image")
FIELDS = {**dict.fromkeys(TEXTS, DataType.VARCHAR), "price": DataType.DOUBLE}


def refused(remote: Remote, told: str) -> None:
    """Run, which must end with exit code 5 and one line."""
    ended = remote.ingest("run")
    assert (ended.code, ended.out) == (5, "")
    assert len(ended.said) == 1
    assert told in ended.said[0]


def test_a_server_holds_the_same_rows_as_lite_and_answers_the_same(
    remote: Remote, client: MilvusClient, lite: Shop
) -> None:
    summary = remote.run()

    assert did(summary) == (0, PRODUCTS, 0)
    assert remote.physical in summary["places"]["collection"]
    check_collection(remote, client)

    served, local = remote.rows(), lite.rows()
    assert served.keys() == local.keys()
    for product_id, row in local.items():
        assert {**served[product_id], "embedding": None} == {**row, "embedding": None}
        assert served[product_id]["embedding"] == row["embedding"]
    ours, theirs = remote.search("--product", "P0001"), lite.search("--product", "P0001")
    assert [{**hit, "score": None} for hit in ours] == [{**hit, "score": None} for hit in theirs]
    assert [hit["score"] for hit in ours] == pytest.approx([hit["score"] for hit in theirs], abs=1e-5)


def test_a_server_recommends_as_lite_does_and_keeps_the_ef_that_was_measured(
    remote: Remote, client: MilvusClient, lite: Shop
) -> None:
    remote.run()
    asked = ("P0001", "P0002", "--other", "category", "--diverse", "--filter", "price < 100", "--json")

    ours, theirs = remote.ingest("recommend", *asked), lite.ingest("recommend", *asked)

    assert (ours.code, theirs.code) == (0, 0), ours.err
    assert [hit["product_id"] for hit in ours.json] == [hit["product_id"] for hit in theirs.json]

    measured = ("--queries", "10", "--k", "3", "--ef", "33", "--target-recall", "0.5", "--labels", "category")
    ended = remote.ingest("evaluate", *measured, "--selectivity", "10,50", "--apply", "--json")

    assert ended.code == 0, ended.err
    assert {row["where"]: row["recall"] for row in ended.json["rows"]} == {"faiss": 1.0, "collection": 1.0}
    assert {row["matching"] for row in ended.json["rows"]} == {1.0, 0.1, 0.5}, "a server walks on until enough match"
    assert remote.contract.index.ef == 64, "no file was edited"
    assert carried_ef(remote, client) == (33, 64, 33)

    remote.run()
    assert carried_ef(remote, client) == (33, 64, 33), "a later run keeps what was measured"
    [release] = remote.ingest("collections", "--json").json
    assert (release["ef"], release["ef_schema"], release["ef_measured"]) == (33, 64, 33)


def carried_ef(remote: Remote, client: MilvusClient) -> tuple[int, int, int | None]:
    contract = json.loads(client.describe_collection(remote.physical)["properties"][contracts.PROPERTY])
    return contract["ef"], contract["ef_schema"], contract["ef_measured"]


def check_collection(remote: Remote, client: MilvusClient) -> None:
    """Check that the alias serves a collection with the contract's index, and the contract."""
    assert client.describe_alias(remote.alias)["collection_name"] == remote.physical
    index = client.describe_index(remote.physical, "embedding")
    wanted = remote.contract.index
    assert (index["index_type"], index["metric_type"]) == ("HNSW", "IP")
    assert (int(index["M"]), int(index["efConstruction"])) == (wanted.m, wanted.ef_construction)
    carried = json.loads(client.describe_collection(remote.alias)["properties"]["ingest.contract"])
    assert carried["fingerprint"] == remote.space.fingerprint
    assert (carried["dim"], carried["normalised"], carried["metric"]) == (remote.space.dim, True, "IP")
    assert carried["fields"]["price"] == "DOUBLE"


def test_a_second_run_writes_nothing_and_a_change_only_itself(remote: Remote) -> None:
    remote.run()
    assert did(remote.run()) == (0, 0, PRODUCTS)

    products = sample_products(PRODUCTS)[:-1]
    products[0]["price"] = "0.95"
    remote.shop.stock(products)
    summary = remote.run()

    assert did(summary) == (0, 1, PRODUCTS - 2)
    assert summary["gone"] == 1
    assert remote.search("--product", "P0002", "--filter", "price < 1")[0]["product_id"] == "P0001"


def test_a_lost_store_is_filled_again_from_the_server(remote: Remote) -> None:
    before = remote.shop.exports
    remote.run()
    shutil.rmtree(remote.shop.data / "embeddings")

    assert did(remote.run()) == (0, 0, PRODUCTS)
    assert remote.shop.exports == before


def test_odd_ids_and_unknown_prices_land_and_are_found(remote: Remote) -> None:
    names = ['O\'Brien "7"', "back\\slash", "é" * 64, "00042", "日本-🫖", "{curly} %s"]
    products = [{**row, "product_id": name} for row, name in zip(sample_products(PRODUCTS), names, strict=False)]
    products[0]["price"] = ""
    remote.shop.stock(products)

    assert did(remote.run("--no-exports")) == (0, len(names), 0)

    rows = remote.rows()
    assert set(rows) == set(names)
    assert math.isnan(rows[names[0]]["price"])
    assert did(remote.run("--no-exports")) == (0, 0, len(names))
    for name in names[:2]:
        found = {hit["product_id"]: hit for hit in remote.search("--product", name)}
        assert found.keys() == set(names) - {name}
    assert found[names[0]]["price"] is None


def test_a_column_that_vanished_from_the_catalog_vanishes_from_the_row(remote: Remote) -> None:
    products = sample_products(PRODUCTS)
    remote.shop.stock([{**product, "season": "summer"} for product in products])
    remote.run()
    assert remote.rows()["P0001"]["season"] == "summer"

    remote.shop.stock(products)
    assert did(remote.run()) == (0, PRODUCTS, 0)

    assert "season" not in remote.rows()["P0001"]


def test_a_collection_where_the_alias_should_be_is_left_alone(remote: Remote, client: MilvusClient) -> None:
    create(client, remote.alias, 8, {})

    refused(remote, "is a collection, not an alias")

    assert count(client, remote.alias) == 0
    assert remote.physical not in client.list_collections()


def test_an_alias_of_somebody_elses_collection_is_left_alone(remote: Remote, client: MilvusClient) -> None:
    theirs = f"{remote.alias}_theirs"
    create(client, theirs, 8, {})
    client.create_alias(collection_name=theirs, alias=remote.alias)

    refused(remote, "which ingest did not build")

    assert client.describe_alias(remote.alias)["collection_name"] == theirs
    assert remote.physical not in client.list_collections()


MISFITS = {
    "dim": (64, FIELDS, 16, "has dim 64, the model 128"),
    "another type": (128, {**FIELDS, "price": DataType.FLOAT}, 16, "price is FLOAT, not DOUBLE"),
    "another index": (128, FIELDS, 8, "M 8, the contract 16"),
}


@pytest.mark.parametrize(("dim", "fields", "m", "told"), MISFITS.values(), ids=MISFITS)
def test_a_collection_that_does_not_fit_is_refused_before_a_row_is_written(
    remote: Remote, client: MilvusClient, dim: int, fields: dict[str, DataType], m: int, told: str
) -> None:
    create(client, remote.physical, dim, fields, m)

    refused(remote, told)

    assert count(client, remote.physical) == 0
    assert not client.has_collection(remote.alias)


def test_another_model_fills_a_second_collection_while_the_alias_serves_the_first(
    remote: Remote, client: MilvusClient, tmp_path: Path
) -> None:
    other = perturbed_model(remote.shop.model, tmp_path / "other")
    remote.shop.stock(sample_products(FEW))
    remote.run("--no-exports")
    before = remote.rows()
    log = tmp_path / "embedded"
    process = remote.shop.started(
        "run", "--uri", remote.uri, "--schema", remote.schema, "--model", other, **spied(log, pause_s=0.5)
    )
    wait_until(lambda: log.exists() and len(log.read_text(encoding="ascii").split()) > 2, process)
    assert process.poll() is None
    assert remote.rows() == before, "the alias serves the old collection while the new one is filled"
    process.terminate()
    process.communicate()
    assert process.returncode == 130
    assert remote.rows() == before, "and so it does when the run was interrupted"

    summary = remote.run("--model", other, "--no-exports")

    assert summary["embedded"] + summary["unchanged"] == FEW
    assert f"moved from {remote.physical}" in summary["notes"][0]
    assert client.describe_alias(remote.alias)["collection_name"] != remote.physical
    after = remote.rows()
    assert after.keys() == before.keys()
    assert all(after[name]["row_digest"] != before[name]["row_digest"] for name in before)
    assert rows_of(remote.uri, remote.physical) == before, "the old collection stays as it was"


def test_a_wrong_port_is_told_at_once(remote: Remote) -> None:
    remote.uri = "http://127.0.0.1:9"
    started = time.monotonic()

    refused(remote, "127.0.0.1:9")

    assert time.monotonic() - started < 10


def secretly(remote: Remote, way: str) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and the environment that name the server and give the token in one of three ways."""
    with_user = remote.uri.replace("http://", f"http://root:{SECRET}@")
    return {
        "flag": ([f"--uri={remote.uri}", "--token", f"root:{SECRET}"], {}),
        "environment": ([f"--uri={remote.uri}"], {"MILVUS_TOKEN": f"root:{SECRET}"}),
        "uri": (["--uri", with_user], {}),
    }[way]


@pytest.mark.parametrize("way", ["flag", "uri"])
def test_a_token_appears_neither_in_ps_nor_in_what_a_run_prints_and_writes(remote: Remote, way: str) -> None:
    arguments, environment = secretly(remote, way)

    process = remote.shop.started("run", "--schema", remote.schema, *arguments, **environment)
    wait_until(lambda: SECRET not in command_line(process), process)
    hidden = process.poll() is None
    out, err = process.communicate()

    assert hidden, err
    assert process.returncode == 0, err
    assert remote.uri in out, "searches to try name the server"
    assert SECRET not in out + err
    written = [path for path in remote.shop.data.rglob("*") if path.is_file()]
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("way", ["flag", "environment", "uri"])
def test_a_token_appears_in_no_error(remote: Remote, way: str) -> None:
    remote.uri = "http://127.0.0.1:9"
    arguments, environment = secretly(remote, way)

    ended = remote.shop.ingest("run", *arguments, **environment)

    assert ended.code == 5
    assert SECRET not in ended.out + ended.err


def command_line(process: subprocess.Popen[str]) -> str:
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_text(encoding="utf-8") or SECRET
    except OSError:
        return SECRET
