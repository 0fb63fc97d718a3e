"""The collections behind an alias: which there are, which one is served, and moving the alias back."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingest import tuning
from ingest.contract import BUILT, PROPERTY, SERVED
from ingest.errors import MilvusError
from ingest.sinks.milvus.connection import CALL_TIMEOUT_S
from ingest.sinks.milvus.lite import without_torn_indexes

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_OTHER_REPLICAS = re.compile(r"can't change the replica number for loaded collection.*expected=(\d+)")

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.sinks.milvus.connection import Connection


@dataclass(frozen=True, slots=True)
class Release:
    """One collection. `built` and `last_served` are ISO times in UTC, "" where not known or never.

    `bytes` estimates what its vectors and links take in memory; Milvus does not tell. `rows` of one that is not loaded
    may include deleted ones. Apps search with `ef`: the measured one if there is one, else the schema's.
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


def releases(connection: Connection, alias: str) -> list[Release]:
    """Return the collections that ingest built for `alias`, the served one first, then the newest."""
    client = connection.client
    served = alias_target(connection, alias)
    found = []
    for name in connection.call("list the collections", client.list_collections):
        properties = connection.call("describe the collection", client.describe_collection, name).get("properties", {})
        contract = tuning.read(properties.get(PROPERTY, ""))
        if contract.get("alias") == alias:
            found.append(_release(connection, name, contract, properties, serves=name == served))
    return sorted(found, key=lambda release: (release.serves, release.last_served, release.built), reverse=True)


def rollback(connection: Connection, alias: str) -> tuple[str, str]:
    """Point the alias at the collection it served before, in one call; return that one's name and the other's.

    Raises MilvusError where there is none, or it is empty.
    """
    found = releases(connection, alias)
    serving = next((release for release in found if release.serves), None)
    before = next((release for release in found if release.last_served and not release.serves), None)
    if before is None:
        raise MilvusError(f"Milvus at {connection.shown}: there is no collection that {alias} served before this one")
    if not before.rows:
        raise MilvusError(f"Milvus at {connection.shown}: {before.name}, which {alias} served before, is empty")
    move(connection, alias, before.name, serving.name if serving else None)
    return before.name, serving.name if serving else ""


def superseded(found: Sequence[Release], keep: int) -> list[Release]:
    """Return those to drop: all but the served one, the `keep` newest that were served, and any now being filled."""
    serving = next((release for release in found if release.serves), None)
    if serving is None:
        return []  # nothing is served, so that nobody can tell what is old
    old = [release for release in found if release.last_served and not release.serves]
    unfinished = [release for release in found if not release.last_served and not release.serves]
    return [*old[keep:], *(release for release in unfinished if release.built < serving.last_served)]


def drop(connection: Connection, alias: str, name: str) -> None:
    """Drop a collection, unless the alias serves it by now: an alias whose collection is gone serves nobody."""
    if alias_target(connection, alias) == name:
        raise MilvusError(f"Milvus at {connection.shown}: {alias} serves {name}; it is not dropped")
    connection.call("drop the collection", connection.client.drop_collection, name, timeout=CALL_TIMEOUT_S)


def move(connection: Connection, alias: str, name: str, instead_of: str | None) -> None:
    """Point the alias at a collection that is loaded, in one call, and note when.

    `instead_of` is what it served when this began. Raises MilvusError where it serves something else by now.

    An alias may dangle: its collection was dropped under it. Then it is not there to be looked up, and yet some
    servers refuse to make it again (Milvus 2.3.5, code 1602); altering it works.
    """
    client = connection.client
    load(connection, name)
    where = {"collection_name": name, "alias": alias}
    if check_untaken(connection, alias, name, instead_of) is not None:
        connection.call("move the alias", client.alter_alias, **where)
    else:
        try:
            connection.call("set the alias", client.create_alias, **where)
        except MilvusError:
            check_untaken(connection, alias, name, instead_of)
            connection.call("move the alias", client.alter_alias, **where)
    note(connection, name, {SERVED: datetime.now(UTC).isoformat(timespec="milliseconds")})


def check_untaken(connection: Connection, alias: str, name: str, before: str | None) -> str | None:
    """Return what the alias serves; raise MilvusError where that is neither `name` nor what it served before."""
    target = alias_target(connection, alias)
    if target not in (None, name, before):
        raise MilvusError(
            f"Milvus at {connection.shown}: the alias {alias} was set to {target} meanwhile, by somebody else; "
            f"every row is in {name}; see which should be served with ingest collections, and run again for this one"
        )
    return target


def load(connection: Connection, name: str, replicas: int = 0) -> None:
    """Bring a collection into memory where it is not, in so many replicas; 0 leaves that to the server.

    One that is loaded keeps the replicas it has where the server, as Milvus 2.3.5, refuses to change them. What a
    kill tore of a Milvus Lite's index is made anew.
    """
    try:
        _load(connection, name, replicas)
    except MilvusError as error:
        if connection.is_lite and without_torn_indexes(connection.place, name):
            log.warning("%s: the index of %s was cut short by a kill; it is built again", connection.shown, name)
            _load(connection, name, replicas)
            return
        if not (match := _OTHER_REPLICAS.search(str(error))):
            raise
        if replicas:
            log.warning(
                "%s stays loaded with its %s replicas, for the server cannot change them while it serves; for %d, "
                "release it when apps can do without it, and run again", name, match[1], replicas,
            )  # fmt: skip


def is_loaded(connection: Connection, name: str) -> bool:
    """Tell whether a collection can be searched, and change nothing of it; one that is loading is waited for.

    A Milvus Lite file is opened with nothing in memory: there a collection is loaded, for this process alone.
    """
    from pymilvus.client.types import LoadState

    if connection.is_lite:
        load(connection, name)
        return True
    ends = time.monotonic() + CALL_TIMEOUT_S
    while (state := _load_state(connection, name)) == LoadState.Loading and time.monotonic() < ends:
        connection.say(f"waiting for Milvus at {connection.shown} to load {name}")
        time.sleep(_LOOK_EVERY_S)
    return bool(state == LoadState.Loaded)


def check_loaded(connection: Connection, name: str) -> None:
    """Raise MilvusError for a collection that somebody has released; otherwise as `is_loaded`."""
    if not is_loaded(connection, name):
        raise MilvusError(
            f"Milvus at {connection.shown}: {name} is not loaded, and this command changes nothing; load it there, or "
            "with: ingest run"
        )


def _load_state(connection: Connection, name: str) -> Any:
    return connection.call(f"ask whether {name} is loaded", connection.client.get_load_state, name)["state"]


def _load(connection: Connection, name: str, replicas: int) -> None:
    asked = {"replica_number": replicas} if replicas else {}
    client = connection.client
    connection.call(f"load {name}", client.load_collection, name, timeout=CALL_TIMEOUT_S, **asked)


def note(connection: Connection, name: str, properties: dict[str, str]) -> None:
    """Set properties of a collection so that they outlive the server."""
    for _ in range(2):  # what Milvus 2.3.5 keeps over a restart is the alteration before the last (milvus #30144)
        connection.call(f"note properties of {name}", connection.client.alter_collection_properties, name, properties)


def alias_target(connection: Connection, alias: str) -> str | None:
    """Return the name of the collection that `alias` points to, or None where there is no such alias."""
    client = connection.client
    # Asking for an alias that is not there is an error with a code of each server's own, so look before asking.
    names = connection.call("list the collections", client.list_collections)
    if alias in names or not connection.call("look for the alias", client.has_collection, alias):
        return None
    # Not describe_alias: Milvus 2.3.5 looks for it in the default database, whichever was named.
    name: str = connection.call("describe the alias", client.describe_collection, alias)["collection_name"]
    return name


def _release(
    connection: Connection, name: str, contract: dict[str, Any], properties: dict[str, str], *, serves: bool
) -> Release:
    rows = _count(connection, name)
    # HNSW's lowest layer: 2 M neighbours of 4 bytes
    links = 0 if connection.is_lite else 2 * 4 * int(contract["index"]["M"])
    return Release(
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
    """Count a collection's rows; of one that is not loaded those deleted since the last compaction count too."""
    from pymilvus.client.types import LoadState

    client, doing = connection.client, f"count the rows of {name}"
    if _load_state(connection, name) != LoadState.Loaded:
        return int(connection.call(doing, client.get_collection_stats, name)["row_count"])
    answer = connection.call(
        doing, client.query, name, filter="", output_fields=["count(*)"], consistency_level="Strong",
        timeout=CALL_TIMEOUT_S,
    )  # fmt: skip
    return int(answer[0]["count(*)"])
