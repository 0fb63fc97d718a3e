"""The alias that apps query: which collection it points to, and the switch after which no app reads the old one.

A second alias, `<alias>_previous`, points to the collection that it served before. A switch from A to B writes three
things in this order: B's property `ingest.previous` (A), the second alias (A), and the alias itself (B). So there is
an answer to which collection was served before after a kill between any two of them; see versions.py.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ingest.core.carried_properties import read_contract, read_time
from ingest.core.contract import FILLING, PREVIOUS, PROPERTY, SERVED, previous_alias
from ingest.core.errors import MilvusError
from ingest.milvus import error_codes, properties
from ingest.milvus.loading import load, replicas_of

if TYPE_CHECKING:
    from ingest.milvus.connection import Connection

log = logging.getLogger(__name__)

_SWITCHED_WITHIN_S, _POLL_S = 60.0, 0.2
_REPEAT_EVERY_S = 3.0
_ANSWERS = 3
"""Answers in a row that must come from the new collection: several proxies may be behind one address."""


def alias_target(connection: Connection, alias: str) -> str | None:
    """Return the name of the collection that `alias` points to, or None if there is no such alias."""
    client = connection.client
    # Each server has its own error code for a missing alias, so look before asking.
    names = connection.call("list the collections", client.list_collections)
    if alias in names or not connection.call("look for the alias", client.has_collection, alias):
        return None
    # Not describe_alias first: Milvus 2.3.5 looks for it in the default database, whichever was named.
    name: str = connection.call("describe the alias", client.describe_collection, alias)["collection_name"]
    if name == alias:  # some servers answer with the name that they were asked for
        name = connection.call("describe the alias", client.describe_alias, alias)["collection_name"]
    return name


def check_not_taken(connection: Connection, alias: str, name: str, before: str | None) -> str | None:
    """Return what the alias serves; raise MilvusError if that is neither `name` nor what it served before."""
    target = alias_target(connection, alias)
    if target not in (None, name, before):
        raise MilvusError(
            f"Milvus at {connection.shown}: somebody else has moved the alias {alias} to {target} meanwhile; "
            f"every row is in {name}; decide with ingest collections which to serve, and run again for this one"
        )
    return target


def check_previous(connection: Connection, alias: str) -> str | None:
    """Return what `<alias>_previous` points to; raise MilvusError if that name is somebody else's."""
    name = previous_alias(alias)
    if name in connection.call("list the collections", connection.client.list_collections):
        raise MilvusError(
            f"Milvus at {connection.shown}: {name} is a collection; ingest needs that name for the alias of what "
            f"{alias} served before; rename it, or change the alias in the contract"
        )
    target = alias_target(connection, name)
    if target is not None and _built_for(connection, target) != alias:
        raise MilvusError(
            f"Milvus at {connection.shown}: the alias {name} points to {target}, which was not built for {alias}; "
            f"ingest needs that name for what {alias} served before; rename it, or change the alias in the contract"
        )
    return target


def switch(connection: Connection, alias: str, name: str, instead_of: str | None) -> None:
    """Point the alias at a collection in one call, wait until apps are answered from it, and record when.

    The collection is loaded first if it is not, and the one that is left becomes the previous one. `instead_of` is
    what the alias served when the run began. Raises MilvusError if it serves something else by now, or if the old
    collection still answers after a minute.
    """
    load(connection, name)
    left = check_not_taken(connection, alias, name, instead_of)
    if left not in (None, name):
        assert left is not None
        _remember(connection, alias, left, name)
    if left is not None:
        connection.call("move the alias", connection.client.alter_alias, collection_name=name, alias=alias)
    else:
        _create(connection, alias, name, instead_of)
    confirm(connection, alias, name)


def confirm(connection: Connection, alias: str, name: str) -> None:
    """Wait until apps that query the alias are answered from the collection that it points to; record when."""
    await_switch(connection, alias, name)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    properties.set_properties(connection, name, {SERVED: now, FILLING: ""})


def complete(connection: Connection, alias: str, name: str) -> None:
    """Do what a switch to `name`, which the alias serves, or away from it, has left to do because it was killed."""
    found = properties.get(connection, name)
    if not read_time(found.get(SERVED, "")) or found.get(FILLING):
        confirm(connection, alias, name)
    before = found.get(PREVIOUS, "")
    if alias_target(connection, previous_alias(alias)) == name and _built_for(connection, before) == alias:
        _point_previous(connection, alias, before, name)


def await_switch(connection: Connection, alias: str, name: str) -> None:
    """Wait until a read through the alias comes from the collection that it points to.

    Proxies cache what a name stands for, and some keep the old collection for a moment (milvus #51780, fixed in
    3.0.0). A search at the moment of the switch can make a proxy of 2.3.5 keep it for good: its cache is cleared, and
    filled again before the switch is complete. Pointing the alias at the same collection once more clears it again.
    Raises MilvusError if the old collection still answers after a minute, InterruptedRunError if the user has asked to
    stop.
    """
    if connection.is_lite:  # there is no proxy
        return
    wanted = _id_of(connection, name)
    by_replicas = set(replicas_of(connection, name)) == {wanted}
    begins, in_a_row, repeats = time.monotonic(), 0, 0
    while in_a_row < _ANSWERS:
        found = set(replicas_of(connection, alias)) if by_replicas else {_id_of(connection, alias)}
        if found == {wanted}:
            in_a_row += 1
            continue
        in_a_row = 0
        waited = time.monotonic() - begins
        if waited > _SWITCHED_WITHIN_S:
            raise MilvusError(
                f"Milvus at {connection.shown}: the alias {alias} points to {name}, but {_SWITCHED_WITHIN_S:.0f} s "
                "later apps that query it are still answered from another collection; restart Milvus' proxies, or "
                "wait, and run the same command again"
            )
        if waited > (repeats + 1) * _REPEAT_EVERY_S and alias_target(connection, alias) == name:
            repeats += 1
            connection.call("move the alias", connection.client.alter_alias, collection_name=name, alias=alias)
        connection.say(f"waiting for Milvus at {connection.shown} to answer {alias} from {name}")
        connection.pause(_POLL_S, f"move the alias {alias}")


def _create(connection: Connection, alias: str, name: str, instead_of: str | None) -> None:
    """Set an alias that cannot be looked up: it is new, or its collection was dropped and it dangles.

    Some servers refuse to create a dangling one (Milvus 2.3.5, code 1602); altering it works.
    """
    where = {"collection_name": name, "alias": alias}
    try:
        connection.call("set the alias", connection.client.create_alias, **where)
    except MilvusError as error:
        if error_codes.is_unauthorized(error.__cause__):
            raise
        check_not_taken(connection, alias, name, instead_of)
        try:
            connection.call("move the alias", connection.client.alter_alias, **where)
        except MilvusError:
            raise MilvusError(
                f"{error}; if the collection behind {alias} was dropped, drop the alias too, and run again"
            ) from error


def _remember(connection: Connection, alias: str, left: str, name: str) -> None:
    """Note that the alias served `left` before `name`, to which it is about to move."""
    target = check_previous(connection, alias)
    properties.update(connection, name, {PREVIOUS: left})
    if not read_time(properties.get(connection, left).get(SERVED, "")):  # its switch was killed before it was recorded
        properties.set_properties(connection, left, {SERVED: datetime.now(UTC).isoformat(timespec="milliseconds")})
    if target != left:
        _point_previous(connection, alias, left, target)


def _point_previous(connection: Connection, alias: str, name: str, instead_of: str | None) -> None:
    """Point `<alias>_previous` at a collection. Without the right to create it the property has to do."""
    second = previous_alias(alias)
    try:
        if instead_of is None:
            _create(connection, second, name, instead_of)
        else:
            connection.call("move the alias", connection.client.alter_alias, collection_name=name, alias=second)
    except MilvusError as error:
        if instead_of is not None or not error_codes.is_unauthorized(error.__cause__):
            raise
        log.warning("%s; without the alias %s ingest rollback goes by the property %s", error, second, PREVIOUS)


def _built_for(connection: Connection, name: str) -> str:
    """Return the alias that ingest built a collection for; "" if it did not build it, or there is none."""
    if not name or not connection.call("look for the collection", connection.client.has_collection, name):
        return ""
    return str(read_contract(properties.get(connection, name).get(PROPERTY, "")).get("alias", ""))


def _id_of(connection: Connection, name: str) -> int:
    described = connection.call("describe the collection", connection.client.describe_collection, name)
    return int(described["collection_id"])
