"""All that lies in a shop's folder and behind its aliases, thing by thing, to tell what a run has rewritten."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from pymilvus import MilvusClient
from support.shop import client_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

INDEX = "data/image_cache/index.sqlite"
LITE = "data/milvus.db"
ALIASES = ("wares", "products")

_NO_STATE = ("data/runs/", f"{LITE}/", INDEX)  # reports; the other two are looked into
_LOCKS = (".lock", ".pid")
_COME_AND_GO = frozenset({"fetched_at", "tries"})  # of an image that fails for now, and is tried again by each run
_SERVED = "ingest.served"  # when the alias moved there, which a rollback writes


class Milvus(NamedTuple):
    """Where the collections are: a Milvus Lite file, or a database of a server."""

    uri: str
    database: str = ""

    def client(self) -> AbstractContextManager[MilvusClient]:
        return closing(MilvusClient(self.uri, db_name=self.database)) if self.database else client_of(self.uri)


def everything(folder: Path, milvus: Milvus) -> dict[str, str]:
    """Return each thing by its name: files, the image index, aliases, collections, and rows."""
    return {**dict(_files(folder)), **dict(_index(folder / INDEX)), **dict(_collections(milvus))}


def rewritten(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """Return the names of what was changed, added or removed."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(_NO_STATE) and not name.endswith(_LOCKS):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            yield f"file {name}", f"{digest} written {path.stat().st_mtime_ns}"


def _index(path: Path) -> Iterator[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        (version,) = database.execute("PRAGMA user_version").fetchone()
        made = "SELECT name, sql FROM sqlite_master WHERE type = 'table'"  # what an index holds is in its table
        tables = {row["name"]: row["sql"] for row in database.execute(made)}
        yield "index layout", f"{version} {tables}"
        for table in tables:
            for row in map(dict, database.execute(f"SELECT * FROM {table}")):
                key = next(iter(row.values()))
                lasting = {
                    name: value for name, value in row.items() if row.get("failure") is None or name not in _COME_AND_GO
                }
                yield f"index {table} {key.hex() if isinstance(key, bytes) else key}", repr(lasting)


def _collections(milvus: Milvus) -> Iterator[tuple[str, str]]:
    with milvus.client() as client:
        for alias in ALIASES:
            yield f"alias {alias}", client.describe_collection(alias)["collection_name"]
        for name in client.list_collections():
            about = client.describe_collection(name)
            properties = {key: value for key, value in about["properties"].items() if key != _SERVED}
            yield f"properties {name}", repr(sorted(properties.items()))
            yield f"schema {name}", repr((about["fields"], about["enable_dynamic_field"]))
            yield f"vector index {name}", repr(_vector_index(client, name))
            for row in _rows(client, name):
                yield f"row {name} {row['product_id']}", repr(sorted(row.items()))


def _vector_index(client: MilvusClient, name: str) -> list[Any]:
    told = [client.describe_index(name, index) for index in client.list_indexes(name)]
    return [sorted((key, index[key]) for key in index if not key.endswith(("_rows", "state"))) for index in told]


def _rows(client: MilvusClient, name: str) -> list[dict[str, Any]]:
    client.load_collection(name)
    rows: list[dict[str, Any]] = client.query(
        name, filter='product_id != ""', output_fields=["*"], consistency_level="Strong", limit=16_384
    )
    return rows
