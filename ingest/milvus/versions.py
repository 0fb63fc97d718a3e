"""The collections that were built for an alias: listing them, rollback, and dropping old ones.

The one that the alias served before is what `<alias>_previous` points to. If that is the served one, a run or a
rollback was killed just before it moved the alias: then, and without the second alias, the served collection's
property `ingest.previous` names it. Collections served by versions of ingest before these two have only times.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ingest.core.carried_properties import read_contract, read_time
from ingest.core.contract import BUILT, FILLING, PREVIOUS, PROPERTY, SERVED, previous_alias
from ingest.core.errors import MilvusError, NotLiveError
from ingest.core.wording import quantity
from ingest.milvus.alias import alias_target, await_switch, switch
from ingest.milvus.connection import CALL_TIMEOUT_S
from ingest.milvus.loading import load, load_state
from ingest.milvus.properties import contract_of_served
from ingest.sync.guard import MOST_LOST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.milvus.connection import Connection

_FILLS_FOR = timedelta(days=7)
"""How long a run may take: until then, a collection that it began to fill is not dropped."""


@dataclass(frozen=True, slots=True)
class CollectionVersion:
    """One collection. `built`, `last_served` and `filling` are ISO times in UTC, "" if not known or never.

    `previous` marks the one that the alias served before, to which `rollback` goes. `filling` is when a run that may
    still be filling it began. `collection_id` grows with each collection that a server creates, by its own count; 0 in
    Milvus Lite. `bytes` estimates the memory of its vectors and links; Milvus does not report it. `rows` of a
    collection that is not loaded may include deleted ones. Apps search with `ef`: the measured one if there is one,
    else the schema's.
    """

    name: str
    serves: bool
    previous: bool
    rows: int
    model: str
    revision: str
    dim: int
    built: str
    last_served: str
    filling: str
    bytes: int
    ef: int
    ef_schema: int
    ef_measured: int | None
    collection_id: int

    @property
    def age(self) -> tuple[int, str]:
        """A key to sort by, larger for collections created later: by the server's count, in Milvus Lite by time."""
        return self.collection_id, self.built


@dataclass(frozen=True, slots=True)
class Rollback:
    """What the alias `serves` now, and what it served before, "" for nothing; with their rows."""

    serves: str
    rows: int
    served_before: str
    rows_before: int


def list_versions(connection: Connection, alias: str) -> list[CollectionVersion]:
    """Return the collections that ingest built for `alias`: the served one, the previous one, then others.

    Of those, the ones that were served come first, and the newest of them first. Collections that ingest did not build
    are left out. Raises MilvusError if the alias serves one that carries no readable contract.
    """
    client = connection.client
    served = alias_target(connection, alias)
    described = {}
    for name in connection.call("list the collections", client.list_collections):
        description = connection.call("describe the collection", client.describe_collection, name)
        if name == served:
            contract_of_served(connection, alias, name, description)
        if read_contract(description.get("properties", {}).get(PROPERTY, "")).get("alias") == alias:
            described[name] = description
    previous = _previous(connection, alias, served, {name: found["properties"] for name, found in described.items()})
    found = [
        _version(connection, name, description, serves=name == served, previous=name == previous)
        for name, description in described.items()
    ]
    return sorted(
        found,
        key=lambda version: (version.serves, version.previous, bool(version.last_served), version.age),
        reverse=True,
    )


def rollback(connection: Connection, alias: str, to: str = "", *, allow_smaller: bool = False) -> Rollback:
    """Point the alias at the collection that it served before, or at the one named `to`, in one call.

    Raises MilvusError if there is none, or it is empty; NotLiveError if it has fewer than 80 % of the served one's
    rows and that is not allowed.
    """
    found = list_versions(connection, alias)
    serving = next((version for version in found if version.serves), None)
    wanted = next((version for version in found if (version.name == to if to else version.previous)), None)
    if wanted is None:
        missing = f"{to} that was built for {alias}" if to else f"that {alias} served before"
        others = [version.name for version in found if not version.serves]
        advice = f"name another: ingest rollback --to {others[0]}" if others else "there is only the served one"
        raise MilvusError(f"Milvus at {connection.shown}: there is no collection {missing}; {advice}")
    before, rows_before = (serving.name, serving.rows) if serving else ("", 0)
    if wanted.rows:
        load(connection, wanted.name)  # to count it without deleted rows, and for the switch
    rows = wanted.rows and _count(connection, wanted.name)
    if not rows:
        raise MilvusError(f"Milvus at {connection.shown}: {wanted.name} is empty, so {alias} does not switch to it")
    if rows_before - rows > MOST_LOST * rows_before and not allow_smaller:
        raise NotLiveError(
            f"{wanted.name} has {quantity(rows, 'row')}, and {before}, which {alias} serves, has {rows_before:,}; "
            "to switch all the same, pass --allow-smaller"
        )
    if not wanted.serves:
        switch(connection, alias, wanted.name, before or None)
    return Rollback(wanted.name, rows, before, rows_before)


def select_prunable(found: Sequence[CollectionVersion], keep: int) -> list[CollectionVersion]:
    """Return those to drop, from what `list_versions` returns.

    Kept are the served one, the previous one and the newest of those served before, `keep` together, any that a run
    may be filling, and any that was never served and is newer than the served one.
    """
    serving = next((version for version in found if version.serves), None)
    if serving is None:
        return []  # without a served one there is no telling what is old
    others = [version for version in found if not version.serves and not is_filling(version)]
    old = [version for version in others if version.last_served or version.previous]
    unfinished = [version for version in others if not version.last_served and not version.previous]
    return [*old[keep:], *(version for version in unfinished if version.age < serving.age)]


def is_filling(version: CollectionVersion) -> bool:
    """Return whether a run may be filling a collection that is not served: one began to, within a week by our clock."""
    if version.serves or not version.filling:
        return False
    return datetime.now(UTC) - datetime.fromisoformat(version.filling) < _FILLS_FOR


def drop(connection: Connection, alias: str, name: str) -> None:
    """Drop a collection that nobody reads through `alias` any more; raises MilvusError if an alias points to it.

    Milvus 2.3 and 2.4 would drop it all the same, and leave an alias that serves nothing; later ones refuse. Only
    `<alias>_previous` is dropped with it.
    """
    served, second = alias_target(connection, alias), previous_alias(alias)
    description = connection.call("describe the collection", connection.client.describe_collection, name)
    aliases = [other for other in description.get("aliases", []) if other not in (alias, second)]
    others = [other for other in aliases if alias_target(connection, other) == name]
    if pointing := [alias] if served == name else others:
        raise MilvusError(
            f"Milvus at {connection.shown}: {name} is not dropped, because the alias {pointing[0]} points to it; move "
            "or drop that alias first"
        )
    if served is not None:
        await_switch(connection, alias, served)
    if alias_target(connection, second) == name:
        connection.call("drop the alias", connection.client.drop_alias, second)
    connection.call("drop the collection", connection.client.drop_collection, name, timeout=CALL_TIMEOUT_S)


def _previous(
    connection: Connection, alias: str, served: str | None, properties: Mapping[str, Mapping[str, str]]
) -> str | None:
    """Return which of the alias's collections, given with their properties, it served before."""
    second = alias_target(connection, previous_alias(alias))
    noted = properties[served].get(PREVIOUS, "") if served is not None and served in properties else ""
    for name in (second, noted):
        if name in properties and name != served:
            return name
    if noted:
        return None  # it was dropped
    times = {name: read_time(found.get(SERVED, "")) for name, found in properties.items() if name != served}
    return max((name for name in times if times[name]), key=times.__getitem__, default=None)


def _version(
    connection: Connection, name: str, description: Mapping[str, Any], *, serves: bool, previous: bool
) -> CollectionVersion:
    properties = description["properties"]
    contract = read_contract(properties[PROPERTY])
    rows = _count(connection, name)
    # HNSW's lowest layer: 2 M neighbours of 4 bytes
    links = 0 if connection.is_lite else 2 * 4 * contract["index"]["M"]
    return CollectionVersion(
        name=name,
        serves=serves,
        previous=previous,
        rows=rows,
        model=contract["model"],
        revision=contract["revision"],
        dim=contract["dim"],
        built=read_time(properties.get(BUILT, "")),
        last_served=read_time(properties.get(SERVED, "")),
        filling=read_time(properties.get(FILLING, "")),
        bytes=rows * (4 * contract["dim"] + links),
        ef=contract["ef"],
        ef_schema=contract["ef_schema"],
        ef_measured=contract["ef_measured"],
        collection_id=int(description.get("collection_id", 0)),
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
