"""The stand-in itself: what each version refuses, and answers, as its source says. No command runs here."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import grpc
import pytest
from pymilvus import DataType, MilvusClient, MilvusException

from milvus_versions.standin import reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from milvus_versions.standin.server import Server

NAME, DIM = "shop", 4


@pytest.fixture
def client(server: Server) -> Iterator[MilvusClient]:
    with closing(MilvusClient(uri=server.uri)) as opened:
        yield opened


def create(client: MilvusClient, name: str = NAME, *fields: str, loaded: bool = True, **more: Any) -> None:
    schema = MilvusClient.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=8)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema.add_field("price", DataType.DOUBLE, **({"nullable": True} if more.pop("nullable", True) else {}))
    for field in fields:
        schema.add_field(field, DataType.INT64)
    client.create_collection(name, schema=schema, **more)
    index = MilvusClient.prepare_index_params()
    index.add_index("vector", index_type="HNSW", metric_type="IP", params={"M": 8, "efConstruction": 16})
    client.create_index(name, index)
    if loaded:
        client.load_collection(name)


def rows(*prices: float | None, **more: Any) -> list[dict[str, Any]]:
    return [{"id": f"P{n}", "vector": [1.0, n, 0, 0], "price": price, **more} for n, price in enumerate(prices)]


def found(client: MilvusClient, expression: str, name: str = NAME, **more: Any) -> list[str]:
    return [row["id"] for row in client.query(name, filter=expression, output_fields=["id"], **more)]


def code_of(caught: pytest.ExceptionInfo[MilvusException]) -> int:
    return int(caught.value.code)


def test_it_says_its_version(server: Server, client: MilvusClient) -> None:
    assert client.get_server_version() == f"v{server.dialect}"


def test_scalars_may_be_nan_before_2_4_2_only(server: Server, client: MilvusClient) -> None:
    create(client, nullable=False)
    if server.dialect.since(2, 4, 2):
        with pytest.raises(MilvusException, match=r"value 'NaN' is not a number or infinity"):
            client.upsert(NAME, rows(math.nan))
    else:
        client.upsert(NAME, rows(math.nan, 5))
        assert found(client, "price < 20") == ["P1"]
        assert found(client, "not (price < 20)") == ["P0"], "NaN is not less"
        assert math.isnan(client.get(NAME, ["P0"])[0]["price"])


def test_vectors_are_never_nan(client: MilvusClient) -> None:
    create(client, nullable=False)
    with pytest.raises(MilvusException, match="not a number"):
        client.upsert(NAME, [{"id": "P0", "vector": [math.nan] * DIM, "price": 1.0}])


def test_fields_are_nullable_since_2_5(server: Server, client: MilvusClient) -> None:
    create(client)
    price = next(field for field in client.describe_collection(NAME)["fields"] if field["name"] == "price")
    assert bool(price.get("nullable")) == server.dialect.since(2, 5)
    if not server.dialect.since(2, 5):
        with pytest.raises(MilvusException, match=r"num_rows|passed num_rows"):
            client.upsert(NAME, rows(1, None, 30))
        return
    client.upsert(NAME, rows(1, None, 30))
    assert [row["price"] for row in client.get(NAME, ["P0", "P1", "P2"])] == [1, None, 30]
    assert found(client, "price < 20") == ["P0"]
    assert found(client, "not (price < 20)") == ["P2"], "of null nothing is known, nor of its negation"
    assert found(client, "price is null") == ["P1"]
    hits = client.search(NAME, [[1.0, 1, 0, 0]], limit=3, output_fields=["price"])[0]
    assert {hit["id"]: hit["entity"]["price"] for hit in hits} == {"P0": 1, "P1": None, "P2": 30}


def test_columns_must_be_those_of_the_schema(client: MilvusClient) -> None:
    create(client, nullable=False)
    with pytest.raises(MilvusException, match="dim"):
        client.upsert(NAME, [{"id": "P0", "vector": [1.0], "price": 1.0}])
    with pytest.raises(MilvusException, match=r"exceeds max length"):
        client.upsert(NAME, [{"id": "é" * 5, "vector": [1.0] * DIM, "price": 1.0}])
    with pytest.raises(MilvusException, match=r"dynamic field exceeds max length \(65536\)"):
        client.upsert(NAME, rows(1.0, blurb="x" * 65_536))


def test_an_id_twice_in_a_batch_is_refused_since_2_6_7(server: Server, client: MilvusClient) -> None:
    create(client, nullable=False)
    twice = [*rows(1.0), *rows(2.0)]
    if server.dialect.since(2, 6, 7):
        with pytest.raises(MilvusException, match="duplicate primary keys"):
            client.upsert(NAME, twice)
    else:
        client.upsert(NAME, twice)


def test_words_of_the_filter_language_are_no_names(server: Server, client: MilvusClient) -> None:
    words = {"like": (2, 4), "text_match": (2, 5), "phrase_match": (2, 6), "RowID": (3,), "NULL": (3,)}
    for word, since in words.items():
        if server.dialect.since(*since):
            with pytest.raises(MilvusException, match=f"{word} is keyword in milvus") as caught:
                create(client, f"c_{word}", word, loaded=False)
            assert code_of(caught) == 1701
        else:
            create(client, f"c_{word}", word, loaded=False)
    create(client, "c_likes", "likes", loaded=False)


def test_what_is_not_there_is_described_with_code_100_or_none(server: Server, client: MilvusClient) -> None:
    assert not client.has_collection("nowhere")
    with pytest.raises(MilvusException, match="can't find collection") as caught:
        client.describe_collection("nowhere")
    assert code_of(caught) == (0 if str(server.dialect) in ("2.5.27", "2.6.16") else 100)


def test_an_alias_is_described_by_its_collection(client: MilvusClient) -> None:
    create(client)
    client.create_alias(NAME, "alias")
    assert client.describe_collection("alias")["collection_name"] == NAME
    assert client.describe_alias("alias")["collection_name"] == NAME
    assert client.list_aliases(NAME)["aliases"] == ["alias"]
    assert client.list_collections() == [NAME]


def test_2_3_looks_for_aliases_in_the_default_database(server: Server, client: MilvusClient) -> None:
    client.create_database("other")
    with closing(MilvusClient(uri=server.uri, db_name="other")) as there:
        create(there)
        there.create_alias(NAME, "alias")
        assert there.describe_collection("alias")["collection_name"] == NAME
        if server.dialect.since(2, 4):
            assert there.describe_alias("alias")["collection_name"] == NAME
        else:
            with pytest.raises(MilvusException, match="alias not found"):
                there.describe_alias("alias")


def test_a_collection_with_an_alias_is_kept_or_its_alias_dangles(server: Server, client: MilvusClient) -> None:
    create(client)
    client.create_alias(NAME, "alias")
    if server.dialect.since(2, 5):
        with pytest.raises(MilvusException, match=r"it has associated aliases \[alias\]"):
            client.drop_collection(NAME)
        return
    client.drop_collection(NAME)
    create(client, "next")
    assert not client.has_collection("alias")
    with pytest.raises(MilvusException, match="alias already exist") as caught:
        client.create_alias("next", "alias")
    assert code_of(caught) == 1602
    client.alter_alias("next", "alias")
    assert client.describe_collection("alias")["collection_name"] == "next"


def test_before_3_0_a_moved_alias_may_answer_from_the_old_collection(server: Server, client: MilvusClient) -> None:
    server.alias_stale = 2
    for name in ("old", "new"):
        create(client, name, nullable=False)
        client.upsert(name, [{"id": name, "vector": [1.0] * DIM, "price": 1.0}])
    client.create_alias("old", "alias")
    client.alter_alias("new", "alias")
    seen = [found(client, 'id != ""', "alias")[0] for _ in range(3)]
    assert seen == (["new"] * 3 if server.dialect.since(3) else ["old", "old", "new"])


def test_a_load_that_names_no_number_takes_replicas_away_since_2_4_13(server: Server, client: MilvusClient) -> None:
    create(client, loaded=False)
    client.load_collection(NAME, replica_number=2)
    if not server.dialect.since(2, 4, 13):
        with pytest.raises(MilvusException, match=r"can't change the replica number.*expected=2"):
            client.load_collection(NAME)
        assert server.collection(NAME).replicas == 2
        return
    client.load_collection(NAME)
    assert server.collection(NAME).replicas == 1
    client.alter_collection_properties(NAME, {"collection.replica.number": "3"})
    client.load_collection(NAME)
    assert server.collection(NAME).replicas == 3
    assert len(client.describe_replica(NAME)) == 3


def test_what_is_released_is_not_read(client: MilvusClient) -> None:
    create(client)
    client.release_collection(NAME)
    with pytest.raises(MilvusException, match="collection not loaded") as caught:
        client.query(NAME, filter="", output_fields=["count(*)"])
    assert code_of(caught) == 101


def test_answers_have_limits(server: Server, client: MilvusClient, monkeypatch: pytest.MonkeyPatch) -> None:
    create(client, nullable=False)
    client.upsert(NAME, rows(*map(float, range(100)), blurb="x" * 1000))
    with pytest.raises(MilvusException, match=r"in range \[1, 16384\]"):
        client.query(NAME, filter="price > 0", limit=reading.MAX_WINDOW + 1)
    with pytest.raises(MilvusException, match="empty expression should be used with limit"):
        client.query(NAME, filter="")
    server.max_answer = 50_000
    with pytest.raises(MilvusException, match="query results exceed the maxOutputSize Limit 50000"):
        client.query(NAME, filter="price >= 0", output_fields=["*"])
    assert len(client.query(NAME, filter="price >= 0", output_fields=["*"], limit=40)) == 40


@pytest.mark.parametrize("dialect", ["3.0.0"], indirect=True)  # the same in all, and 3 s each
def test_a_request_has_at_most_64_mib(client: MilvusClient) -> None:
    create(client, nullable=False)
    wide = [{"id": str(n), "vector": [1.0] * DIM, "price": 1.0, "blurb": "x" * 65_000} for n in range(1100)]
    with pytest.raises((MilvusException, grpc.RpcError), match="larger than max"):
        client.upsert(NAME, wide, timeout=5)


@pytest.mark.parametrize("dialect", ["2.3.5", "2.4.23"], indirect=True)
def test_flushes_are_ten_seconds_apart_since_2_4(server: Server, client: MilvusClient) -> None:
    server.flush_every_s = 0.3
    create(client, nullable=False)
    client.flush(NAME)
    client.flush(NAME)  # pymilvus waits and asks again
    assert len(server.requests("Flush")) == (2 if not server.dialect.since(2, 4) else 3)


def test_templates_are_filled_in_since_2_5(server: Server, client: MilvusClient) -> None:
    create(client, nullable=False)
    client.upsert(NAME, rows(1.0, 2.0, 3.0))
    asked = {"expression": "id in {ids}", "filter_params": {"ids": ["P0", "P2"]}}
    if server.dialect.since(2, 5):
        assert found(client, **asked) == ["P0", "P2"]
    else:
        with pytest.raises(MilvusException, match="cannot parse expression"):
            found(client, **asked)


def test_ids_with_quotes_and_other_letters_are_found_by_pages(client: MilvusClient) -> None:
    create(client, nullable=False)
    names = ['a"b', "a'b", "a\\b", "ä", "日本", "🙂"]
    client.upsert(NAME, [{"id": name, "vector": [1.0] * DIM, "price": 1.0} for name in names])
    assert sorted(found(client, f"id in {json.dumps(names, ensure_ascii=False)}")) == sorted(names)
    pages = client.query_iterator(NAME, batch_size=4, output_fields=["id"])
    first, last = pages.next(), pages.next()
    assert [row["id"] for row in [*first, *last]] == sorted(names, key=str.encode)
    pages.close()


def test_a_user_needs_rights_in_the_database_that_the_metadata_name(server: Server, client: MilvusClient) -> None:
    client.create_database("theirs")
    server.users, server.grants = {"root": "Milvus", "shop": "secret"}, {"shop": {"theirs"}}
    with closing(MilvusClient(uri=server.uri, token="shop:secret", db_name="theirs")) as own:
        create(own)
        request = {"db_name": "theirs", "collection_name": NAME}
        handler = own._get_connection()
        from pymilvus.grpc_gen import milvus_pb2

        body_only = milvus_pb2.LoadCollectionRequest(**request)
        if server.dialect.since(3):
            handler._stub.LoadCollection(body_only)
        else:
            with pytest.raises(grpc.RpcError) as caught:
                handler._stub.LoadCollection(body_only)
            assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        own.load_collection(NAME)
    with pytest.raises(MilvusException), closing(MilvusClient(uri=server.uri, token="shop:wrong")) as wrong:
        wrong.load_collection(NAME)


def post(server: Server, action: str, **body: Any) -> Any:
    address = f"{server.uri}/v2/vectordb/jobs/import/{action}"
    with urlopen(Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})) as answer:
        return json.load(answer)


def parquet(folder: Path, *ids: str, prices: list[float | None] | None = None) -> str:
    import pyarrow as pa
    from pyarrow import parquet as files

    table = {"id": list(ids), "vector": [[1.0] * DIM for _ in ids], "price": prices or [1.0] * len(ids)}
    files.write_table(pa.table(table), folder / f"{ids[0]}.parquet")
    return f"/import/{ids[0]}.parquet"


def test_a_job_reads_parquet_into_the_database_of_the_call(
    server: Server, client: MilvusClient, tmp_path: Path
) -> None:
    server.import_folders = {"/import": str(tmp_path)}
    create(client, nullable=False)
    handler = client._get_connection()
    job = handler.do_bulk_insert(NAME, "", [parquet(tmp_path, "a", "b")])
    state = handler.get_bulk_insert_state(job)
    assert (state.state_name, state.row_count) == ("Completed", 2)
    client.refresh_load(NAME)
    assert found(client, 'id != ""') == ["a", "b"]
    listed = handler.list_bulk_insert_tasks(10, NAME)
    assert [(task.task_id, task.row_count) for task in listed] == [(0, 0) if server.dialect.since(2, 4) else (job, 2)]
    handler.do_bulk_insert(NAME, "", ["/import/a.parquet"])
    client.refresh_load(NAME)
    assert client.query(NAME, filter="", output_fields=["count(*)"])[0]["count(*)"] == 4, "an import only adds"


def test_jobs_over_rest_since_2_4(server: Server, client: MilvusClient, tmp_path: Path) -> None:
    server.import_folders = {"/import": str(tmp_path)}
    client.create_database("other")
    with closing(MilvusClient(uri=server.uri, db_name="other")) as there:
        create(there, nullable=False)
        asked = {"dbName": "other", "collectionName": NAME}
        files = [[parquet(tmp_path, "a")], [parquet(tmp_path, "b")]]
        if not server.dialect.since(2, 4):
            with pytest.raises(OSError, match="404"):
                post(server, "create", **asked, files=files)
            return
        server.imports_held = True
        job = post(server, "create", **asked, files=files)["data"]["jobId"]
        assert post(server, "describe", dbName="other", jobId=job)["data"]["state"] == "Importing"
        server.imports_held = False
        told = post(server, "get_progress", dbName="other", jobId=job)["data"]
        assert (told["state"], told["importedRows"]) == ("Completed", 2)
        assert [record["jobId"] for record in post(server, "list", **asked)["data"]["records"]] == [job]
        assert found(there, 'id != ""') == ["a", "b"]
    assert post(server, "describe", jobId="7")["code"] == 2100
    assert post(server, "create", collectionName=NAME, files=files)["code"] == 100


def test_a_job_refuses_nan_and_nulls_where_there_are_none(server: Server, client: MilvusClient, tmp_path: Path) -> None:
    server.import_folders = {"/import": str(tmp_path)}
    create(client)
    handler = client._get_connection()
    states = [
        handler.get_bulk_insert_state(
            handler.do_bulk_insert(NAME, "", [parquet(tmp_path, name, prices=[price])])
        ).state_name
        for name, price in (("nan", math.nan), ("null", None))
    ]
    assert states == ["Failed", "Completed" if server.dialect.since(2, 5) else "Failed"]


def test_it_runs_in_a_process_of_its_own_and_shows_what_it_was_asked() -> None:
    command = [sys.executable, "-m", "milvus_versions.standin", "2.6.16"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        uri = process.stdout.readline().strip()
        with closing(MilvusClient(uri=uri)) as client:
            assert client.list_collections() == []
        with urlopen(f"{uri}/standin/requests") as answer:
            asked = json.load(answer)
        process.terminate()
        assert process.wait(30) == 0
    assert asked == [["Connect", "", ""], ["ShowCollections", "", ""]]


def test_rows_are_counted_by_group_since_3_0(server: Server, client: MilvusClient) -> None:
    create(client, nullable=False)
    client.upsert(NAME, rows(1.0, 2.0, 1.0))
    counted = client.query(NAME, filter="", output_fields=["price", "count(*)"], group_by_fields=["price"], limit=10)
    if server.dialect.since(3):
        assert {row["price"]: row["count(*)"] for row in counted} == {1.0: 2, 2.0: 1}
    else:
        assert [dict(row) for row in counted] == [{"count(*)": 3}]
