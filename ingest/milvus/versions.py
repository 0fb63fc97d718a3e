"""The collections that were built for an alias: listing them, rollback to the one before, and dropping old ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.core import search_ef
from ingest.core.contract import BUILT, PROPERTY, SERVED
from ingest.core.errors import MilvusError
from ingest.milvus.alias import alias_target, await_switch, switch
from ingest.milvus.connection import CALL_TIMEOUT_S
from ingest.milvus.loading import load_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.milvus.connection import Connection


@dataclass(frozen=True, slots=True)
class CollectionVersion:
    """One collection. `built` and `last_served` are ISO times in UTC, "" if not known or never.

    `bytes` estimates the memory of its vectors and links; Milvus does not report it. `rows` of a collection that is not
    loaded may include deleted ones. Apps search with `ef`: the measured one if there is one, else the schema's.
    """

    name: str
    serves: bool
    rows: int
    model: str
    revision: str
    dim: int
    built: str
    last_served: str
    bytes: int
    ef: int
    ef_schema: int
    ef_measured: int | None


def list_versions(connection: Connection, alias: str) -> list[CollectionVersion]:
    """Return the collections that ingest built for `alias`, the served one first, then the newest."""
    client = connection.client
    served = alias_target(connection, alias)
    found = []
    for name in connection.call("list the collections", client.list_collections):
        properties = connection.call("describe the collection", client.describe_collection, name).get("properties", {})
        contract = search_ef.read(properties.get(PROPERTY, ""))
        if contract.get("alias") == alias:
            found.append(_version(connection, name, contract, properties, serves=name == served))
    return sorted(found, key=lambda version: (version.serves, version.last_served, version.built), reverse=True)


def rollback(connection: Connection, alias: str) -> tuple[str, str]:
    """Point the alias at the collection that it served before, in one call; return its name and the other's.

    Raises MilvusError if there is none, or it is empty.
    """
    found = list_versions(connection, alias)
    serving = next((version for version in found if version.serves), None)
    before = next((version for version in found if version.last_served and not version.serves), None)
    if before is None:
        raise MilvusError(f"Milvus at {connection.shown}: there is no collection that {alias} served before this one")
    if not before.rows:
        raise MilvusError(f"Milvus at {connection.shown}: {before.name}, which {alias} served before, is empty")
    switch(connection, alias, before.name, serving.name if serving else None)
    return before.name, serving.name if serving else ""


def select_prunable(found: Sequence[CollectionVersion], keep: int) -> list[CollectionVersion]:
    """Return those to drop: all but the served one, the `keep` newest that were served, and any now being filled."""
    serving = next((version for version in found if version.serves), None)
    if serving is None:
        return []  # without a served one there is no telling what is old
    old = [version for version in found if version.last_served and not version.serves]
    unfinished = [version for version in found if not version.last_served and not version.serves]
    return [*old[keep:], *(version for version in unfinished if version.built < serving.last_served)]


def drop(connection: Connection, alias: str, name: str) -> None:
    """Drop a collection that nobody reads through `alias` any more; raises MilvusError if an alias points to it.

    Milvus 2.3 and 2.4 would drop it all the same, and leave an alias that serves nothing; later ones refuse.
    """
    served = alias_target(connection, alias)
    description = connection.call("describe the collection", connection.client.describe_collection, name)
    others = [other for other in description.get("aliases", []) if alias_target(connection, other) == name]
    if pointing := [alias] if served == name else others:
        raise MilvusError(
            f"Milvus at {connection.shown}: {name} is not dropped, because the alias {pointing[0]} points to it; move "
            "or drop that alias first"
        )
    if served is not None:
        await_switch(connection, alias, served)
    connection.call("drop the collection", connection.client.drop_collection, name, timeout=CALL_TIMEOUT_S)


def _version(
    connection: Connection, name: str, contract: dict[str, Any], properties: dict[str, str], *, serves: bool
) -> CollectionVersion:
    rows = _count(connection, name)
    # HNSW's lowest layer: 2 M neighbours of 4 bytes
    links = 0 if connection.is_lite else 2 * 4 * int(contract["index"]["M"])
    return CollectionVersion(
        name=name,
        serves=serves,
        rows=rows,
        model=contract["model"],
        revision=contract["revision"],
        dim=contract["dim"],
        built=properties.get(BUILT, ""),
        last_served=properties.get(SERVED, ""),
        bytes=rows * (4 * int(contract["dim"]) + links),
        ef=contract["ef"],
        ef_schema=contract["ef_schema"],
        ef_measured=contract["ef_measured"],
    )


def _count(connection: Connection, name: str) -> int:
    """Count a collection's rows; if it is not loaded, also those deleted since the last compaction."""
    from pymilvus.client.types import LoadState

    client, doing = connection.client, f"count the rows of {name}"
    if load_state(connection, name) != LoadState.Loaded:
        return int(connection.call(doing, client.get_collection_stats, name)["row_count"])
    answer = connection.call(
        doing, client.query, name, filter="", output_fields=["count(*)"], consistency_level="Strong",
        timeout=CALL_TIMEOUT_S,
    )  # fmt: skip
    return int(answer[0]["count(*)"])
