"""The alias that apps query: which collection it points to, and moving it so that no app reads the old one after."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ingest.core.contract import SERVED
from ingest.core.errors import MilvusError
from ingest.milvus import properties
from ingest.milvus.loading import load, replicas_of

if TYPE_CHECKING:
    from ingest.milvus.connection import Connection

_SWITCHED_WITHIN_S, _LOOK_EVERY_S = 60.0, 0.2
_TIMES = 3
"""Answers in a row from the new collection: behind one address there may be several proxies."""


def alias_target(connection: Connection, alias: str) -> str | None:
    """Return the name of the collection that `alias` points to, or None where there is no such alias."""
    client = connection.client
    # Asking for an alias that is not there is an error with a code of each server's own, so look before asking.
    names = connection.call("list the collections", client.list_collections)
    if alias in names or not connection.call("look for the alias", client.has_collection, alias):
        return None
    # Not describe_alias first: Milvus 2.3.5 looks for it in the default database, whichever was named.
    name: str = connection.call("describe the alias", client.describe_collection, alias)["collection_name"]
    if name == alias:  # a server that answers with the name it was asked by
        name = connection.call("describe the alias", client.describe_alias, alias)["collection_name"]
    return name


def check_not_taken(connection: Connection, alias: str, name: str, before: str | None) -> str | None:
    """Return what the alias serves; raise MilvusError where that is neither `name` nor what it served before."""
    target = alias_target(connection, alias)
    if target not in (None, name, before):
        raise MilvusError(
            f"Milvus at {connection.shown}: the alias {alias} was set to {target} meanwhile, by somebody else; "
            f"every row is in {name}; see which should be served with ingest collections, and run again for this one"
        )
    return target


def switch(connection: Connection, alias: str, name: str, instead_of: str | None) -> None:
    """Point the alias at a collection, in one call, wait until apps are answered from it, and note when.

    It is loaded first if it is not. `instead_of` is what the alias served when this began. Raises MilvusError where it
    serves something else by now, or goes on answering from it.
    """
    load(connection, name)
    if check_not_taken(connection, alias, name, instead_of) is not None:
        connection.call("move the alias", connection.client.alter_alias, collection_name=name, alias=alias)
    else:
        _create(connection, alias, name, instead_of)
    confirm(connection, alias, name)


def confirm(connection: Connection, alias: str, name: str) -> None:
    """Wait until apps that query the alias, which points to this collection, are answered from it; note when."""
    await_switch(connection, alias, name)
    properties.set_properties(connection, name, {SERVED: datetime.now(UTC).isoformat(timespec="milliseconds")})


def await_switch(connection: Connection, alias: str, name: str) -> None:
    """Wait until a read by the alias comes from the collection that it points to.

    Proxies keep what a name stands for, and some keep the collection before for a moment (milvus #51780, fixed in
    3.0.0). Raises MilvusError if that does not end, InterruptedRunError if the user has asked to stop.
    """
    if connection.is_lite:  # there is no proxy
        return
    wanted = _id_of(connection, name)
    tells = set(replicas_of(connection, name)) == {wanted}
    ends, row = time.monotonic() + _SWITCHED_WITHIN_S, 0
    while row < _TIMES:
        found = set(replicas_of(connection, alias)) if tells else {_id_of(connection, alias)}
        row = row + 1 if found == {wanted} else 0
        if row:
            continue
        if time.monotonic() > ends:
            raise MilvusError(
                f"Milvus at {connection.shown}: the alias {alias} points to {name}, but {_SWITCHED_WITHIN_S:.0f} s "
                "later apps that query it are still answered from another collection; restart the proxies of Milvus, "
                "or wait, and run the same command again"
            )
        connection.say(f"waiting for Milvus at {connection.shown} to answer {alias} from {name}")
        connection.pause(_LOOK_EVERY_S, f"move the alias {alias}")


def _create(connection: Connection, alias: str, name: str, instead_of: str | None) -> None:
    """Set an alias that cannot be looked up: it is new, or dangles since its collection was dropped under it.

    A dangling one cannot be created on some servers (Milvus 2.3.5, code 1602); altering it works.
    """
    where = {"collection_name": name, "alias": alias}
    try:
        connection.call("set the alias", connection.client.create_alias, **where)
    except MilvusError as error:
        check_not_taken(connection, alias, name, instead_of)
        try:
            connection.call("move the alias", connection.client.alter_alias, **where)
        except MilvusError:
            raise MilvusError(
                f"{error}; if {alias} was left behind by a collection that was dropped, drop the alias and run again"
            ) from error


def _id_of(connection: Connection, name: str) -> int:
    described = connection.call("describe the collection", connection.client.describe_collection, name)
    return int(described["collection_id"])
