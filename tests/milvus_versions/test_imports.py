"""First loads by import jobs, on servers that report their jobs in different ways, and after kills."""

from __future__ import annotations

import json
import logging
import os
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import grpc
import pytest
from pymilvus import MilvusClient
from support.small_shop import SmallShop

from ingest.core.contract import IMPORTING
from ingest.core.errors import InterruptedRunError, MilvusError
from ingest.milvus import bulk_import, import_jobs, pages, pending_imports
from milvus_versions.standin import imports, rest
from milvus_versions.standin.server import Fault

if TYPE_CHECKING:
    from pathlib import Path

    from milvus_versions.standin.server import Server

IDS = [f"P{number}" for number in range(12)]
CREATE = "POST /v2/vectordb/jobs/import/create"
WRITES = ("Upsert", "Import", "Delete", CREATE)
FLUSHED = 8  # of common.proto's ImportState; pymilvus 3.0.2 has no name for it


@pytest.fixture
def shop(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallShop:
    """Make a shop of twelve products that go into three files."""
    monkeypatch.setattr(bulk_import, "FILE_BYTES", 1700)
    monkeypatch.setattr(pending_imports, "_POLL_S", 0.02)
    monkeypatch.setattr(pending_imports, "_UNANSWERED_S", 0.3)
    monkeypatch.setattr(pending_imports, "_VISIBLE_WITHIN_S", 0.3)
    folder = tmp_path / "shared"
    folder.mkdir()
    server.import_folders = {"/import": str(folder)}
    shop = SmallShop(tmp_path / "shop", server.uri, load="bulk", bulk_folder=folder, bulk_path="/import")
    shop.stock({name: (number, name) for number, name in enumerate(IDS)})
    head, *lines = shop.settings.catalog.read_text(encoding="utf-8").splitlines()
    rows = [f"{head},price", *(f"{line},1.5" for line in lines)]  # of a price that is not known an import has no row
    shop.settings.catalog.write_text("\n".join(rows), encoding="utf-8")
    return shop


def killed(*_: object) -> NoReturn:
    raise InterruptedRunError("killed")


def written_and_killed(path: Path, *_: object) -> NoReturn:
    path.touch()
    killed()


def asked(server: Server) -> int:
    """Count the files that the server was asked to import: one for each call by gRPC, many by REST."""
    by_grpc = sum(len(request.message.files) for request in server.requests("Import"))
    return by_grpc + sum(len(request.message["files"]) for request in server.requests(CREATE))


def upserted(server: Server) -> int:
    """Count the rows that were upserted into collections of products."""
    messages = [request.message for request in server.requests("Upsert")]
    return sum(message.num_rows for message in messages if "_probe_" not in message.collection_name)


def empty(server: Server) -> str:
    """Take the rows out of the one collection, and return its name."""
    [name] = server.collections()
    server.collection(name).rows.clear()
    server.collection(name).pending.clear()
    return name


def left(shop: SmallShop) -> list[str]:
    return [path.name for path in shop.settings.bulk_folder.iterdir()]


def remembered(server: Server) -> str:
    return str(server.collection("products").properties.get(IMPORTING, ""))


def test_every_row_is_imported_once_and_nothing_of_it_stays(server: Server, shop: SmallShop) -> None:
    assert shop.run().summary.upserted == 12
    assert asked(server) == 3
    jobs_asked_for = len(server.requests("Import", CREATE))
    assert jobs_asked_for == (1 if server.dialect.since(2, 4) else 3)
    assert upserted(server) == 0
    assert (left(shop), remembered(server)) == ([], "")
    assert not shop.verify().differing
    assert shop.run().summary.unchanged == 12


def test_an_import_goes_into_the_database_that_is_named_and_is_asked_for_by_the_user(
    server: Server, shop: SmallShop
) -> None:
    with closing(MilvusClient(uri=server.uri)) as client:
        client.create_database("market")
    server.users, server.grants = {"ann": "secret"}, {"ann": {"market"}}
    shop.settings = replace(shop.settings, db_name="market", token="ann:secret")
    assert shop.run().summary.upserted == 12
    assert (server.collections("default"), asked(server)) == ([], 3)
    assert len(server.collection("products", "market").rows) == 12
    assert upserted(server) == 0


def test_jobs_of_a_killed_run_are_waited_for_by_their_numbers(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.import_s = 0.5
    with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(pending_imports, "wait_for_job", killed)
        shop.run()
    assert len(left(shop)) == 3, "a job still reads them"
    assert shop.run().summary.unchanged == 12
    assert asked(server) == 3
    assert upserted(server) == 0
    assert (left(shop), remembered(server)) == ([], "")
    assert len(server.collection("products").rows) == 12


def test_a_job_whose_number_a_killed_run_did_not_hear_is_waited_for(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.import_s = 0.5
    send = import_jobs._send

    def send_and_die(*args: object) -> NoReturn:
        send(*args)
        killed()

    with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(import_jobs, "_send", send_and_die)
        shop.run()
    heard = asked(server)
    assert shop.run().summary.unchanged == (12 if heard == 3 else 5), "the rows of what the server was asked for"
    assert asked(server) == 3
    assert len(server.collection("products").rows) == 12
    assert left(shop) == []


def test_files_that_a_killed_run_had_not_asked_for_are_removed(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(bulk_import, "_start_jobs", killed)
        shop.run()
    (shop.settings.bulk_folder / "cut short.parquet").touch()  # of nobody that this shop knows
    assert shop.run().summary.upserted == 12
    assert left(shop) == ["cut short.parquet"]
    with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(bulk_import, "_write", written_and_killed)
        shop.run(model="model-2")
    assert len(left(shop)) == 2
    assert shop.run(model="model-2").summary.upserted == 12
    assert left(shop) == ["cut short.parquet"]


def test_nothing_is_written_while_the_server_does_not_list_its_jobs(server: Server, shop: SmallShop) -> None:
    shop.run()
    server.forget()
    server.fail("ListImportTasks", 8, "rate limit exceeded", times=10_000)
    with pytest.raises(MilvusError, match="cannot list the imports: rate limit exceeded"):
        shop.run(max_wait=0.1)
    assert not server.requests(*WRITES)


def test_a_job_that_failed_after_a_kill_is_asked_for_again(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.import_s = 0.3
    with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(pending_imports, "wait_for_job", killed)
        shop.run()
    for path in shop.settings.bulk_folder.iterdir():
        path.unlink()
    assert shop.run().summary.upserted == 12
    assert asked(server) == 6
    assert len(server.collection("products").rows) == 12


def test_a_job_that_the_server_has_forgotten_is_not_waited_for(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(pending_imports, "wait_for_job", killed)
        shop.run()
    server.jobs.clear()
    empty(server)
    assert shop.run().summary.upserted == 12
    assert len(server.collection("products").rows) == 12


def test_nothing_is_written_while_a_job_is_in_a_state_that_nobody_knows(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_imports, "_UNKNOWN_STATE_S", 0.2)
    with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(pending_imports, "wait_for_job", killed)
        shop.run()
    server.forget()
    with monkeypatch.context() as patch, pytest.raises(MilvusError, match="in a state that this ingest does not know"):
        patch.setitem(imports._OLD_STATES, imports.COMPLETED, FLUSHED)
        shop.run()
    assert not server.requests(*WRITES)
    assert shop.run().summary.unchanged == 12, "its state is known by now"


def test_nothing_is_written_while_imported_rows_are_not_served_yet(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(pending_imports, "wait_for_job", killed)
        shop.run()
    server.forget()
    name = empty(server)
    with pytest.raises(MilvusError, match="has ended, but its rows are not visible yet"):
        shop.run()
    assert not server.requests(*WRITES)
    properties = server.collection(name).properties
    properties[IMPORTING] = json.dumps(json.loads(properties[IMPORTING]) | {"asked": 0})
    assert shop.run().summary.upserted == 12, "after hours they will not come any more"


def test_an_import_whose_answer_is_lost_is_not_asked_for_twice(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_jobs, "import_api", import_jobs._Grpc)
    server.import_s = 0.3
    server.faults.append(Fault("Import", status=grpc.StatusCode.UNAVAILABLE, done_first=True))
    assert shop.run().summary.upserted == 12
    assert asked(server) == 1
    assert upserted(server) == 7, "the rows of the other files are upserted"
    assert not shop.verify().differing


def test_an_import_that_timed_out_within_the_server_is_not_asked_for_twice(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_jobs, "import_api", import_jobs._Grpc)
    server.fail("Import", 65535, "context deadline exceeded")
    server.faults[-1].done_first = True  # the proxy did not hear that the job had been made
    assert shop.run().summary.upserted == 12
    assert asked(server) == 1
    assert not server.collection("products").doubles


def test_a_busy_server_is_asked_again(server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_jobs, "import_api", import_jobs._Grpc)
    server.fail("Import", 8, "rate limit exceeded")
    assert shop.run().summary.upserted == 12
    assert upserted(server) == 0


@pytest.mark.parametrize("dialect", ["2.6.16"], indirect=True)
@pytest.mark.parametrize("answer", [["ok"], "ok", None, {"code": 0, "data": ["ok"]}, {"code": 0, "data": {}}])
def test_what_answers_over_http_and_is_no_milvus_is_passed_over(
    server: Server, shop: SmallShop, answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "_answered", lambda *_: (200, answer))
    assert shop.run().summary.upserted == 12
    assert len(server.collection("products").rows) == 12
    assert not server.collection("products").doubles


def test_rows_that_the_server_refuses_to_import_are_upserted(
    server: Server, shop: SmallShop, caplog: pytest.LogCaptureFixture
) -> None:
    server.import_folders = {}
    with caplog.at_level(logging.WARNING, "ingest"):
        assert shop.run().summary.upserted == 12
    assert "the rows are upserted" in caplog.text
    assert (left(shop), remembered(server)) == ([], "")
    assert not shop.verify().differing


def test_rows_that_a_short_iterator_leaves_out_are_not_imported_a_second_time(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run()
    server.forget()
    read = pages.pages
    with monkeypatch.context() as patch:
        patch.setattr(pages, "pages", lambda *args: (page[:-3] for page in read(*args)))
        shop.run()
    assert asked(server) == 0
    assert upserted(server) == 3


@pytest.mark.parametrize("folder", [True, False])
def test_the_next_run_removes_the_files_of_a_killed_one_and_no_others(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch, *, folder: bool
) -> None:
    with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(bulk_import, "_write", written_and_killed)
        shop.run()
    [name] = server.collections()
    old, young, foreign = (f"products_{'0' * 12}_{digit * 32}.parquet" for digit in "abc")
    foreign = f"products_2026_{foreign[-10:]}"
    for file in (old, young, foreign):
        (shop.settings.bulk_folder / file).touch()
    for file in (old, foreign):
        os.utime(shop.settings.bulk_folder / file, (1, 1))
    assert len(left(shop)) == 4
    content = json.loads(server.collection(name).properties[IMPORTING])
    content["files"].append({"name": "../shop/products.csv", "rows": {}, "job": 0})
    server.collection(name).properties[IMPORTING] = json.dumps(content)

    assert shop.run(**({} if folder else {"load": "upsert", "bulk_folder": None})).summary.upserted == 12

    assert sorted(left(shop)) == sorted([young, foreign] if folder else [old, young, foreign])
    assert shop.settings.catalog.exists(), "a record may be anybody's"


@pytest.mark.parametrize("dialect", ["2.6.16"], indirect=True)
@pytest.mark.parametrize(
    "noted",
    [
        "[]", "null", '"x"', "{", "7", '{"asked": 0}', '{"asked": "now", "files": []}', '{"asked": 0, "files": [3]}',
        '{"asked": 0, "files": [{"name": "../precious.parquet", "rows": {}, "job": 0}]}',
        '{"asked": 0, "files": [{"name": "precious.parquet", "rows": [], "job": -1}]}', "[" * 50_000,
    ],
)  # fmt: skip
def test_a_note_of_imports_that_cannot_be_read_removes_no_file_and_is_written_again(
    server: Server, tmp_path: Path, noted: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "bulk"
    folder.mkdir()
    precious = [tmp_path / "precious.parquet", folder / "precious.parquet"]
    for path in precious:
        path.write_bytes(b"precious")
    shop = SmallShop(tmp_path / "shop", server.uri, bulk_folder=folder)
    shop.stock({name: (number, name) for number, name in enumerate(IDS)})
    head, *lines = shop.settings.catalog.read_text(encoding="utf-8").splitlines()
    shop.settings.catalog.write_text("\n".join([f"{head},price", *(f"{line},1.5" for line in lines)]), encoding="utf-8")
    shop.run()
    server.collection("products").properties[IMPORTING] = noted

    assert shop.run().summary.unchanged == len(IDS)

    assert all(path.exists() for path in precious)
    assert server.collection("products").properties[IMPORTING] == ""
    assert "its property ingest.importing cannot be read, and is written again" in caplog.text
