"""Collections in memory: whether one is, and bringing it there without taking away the replicas that it has."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any

from ingest.core.errors import MilvusError
from ingest.milvus.connection import CALL_TIMEOUT_S
from ingest.milvus.lite import remove_torn_indexes

if TYPE_CHECKING:
    from ingest.milvus.connection import Connection

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_ANSWER_S = 10.0
_OTHER_REPLICAS = re.compile(r"can't change the replica number for loaded collection.*expected=(\d+)")


def load(connection: Connection, name: str, replicas: int = 0) -> None:
    """Bring a collection into memory if it is not, in so many replicas; 0 leaves that to the server.

    One that is loaded is left alone unless it has another number of replicas than asked for: since Milvus 2.4.13 a
    load that names no number sets the replicas and the resource groups back to the collection's properties, or to one
    replica. Milvus 2.3.5 refuses to change them. What a kill tore of a Milvus Lite's index is made anew.
    """
    if connection.is_lite:
        _load_lite(connection, name)
    elif not is_loaded(connection, name):
        _load(connection, name, replicas)
    elif replicas and len(replicas_of(connection, name)) not in (0, replicas):  # 0: the server does not tell
        _change(connection, name, replicas)


def is_loaded(connection: Connection, name: str) -> bool:
    """Tell whether a collection can be searched, and change nothing of it; one that is loading is waited for.

    A Milvus Lite file is opened with nothing in memory: there a collection is loaded, for this process alone.
    """
    from pymilvus.client.types import LoadState

    if connection.is_lite:
        _load_lite(connection, name)
        return True
    doing, ends = f"load {name}", time.monotonic() + CALL_TIMEOUT_S
    while (state := load_state(connection, name)) == LoadState.Loading and time.monotonic() < ends:
        connection.say(f"waiting for Milvus at {connection.shown} to load {name}")
        connection.pause(_LOOK_EVERY_S, doing)
    return bool(state == LoadState.Loaded)


def check_loaded(connection: Connection, name: str) -> None:
    """Raise MilvusError for a collection that somebody has released; otherwise as `is_loaded`."""
    if not is_loaded(connection, name):
        raise MilvusError(
            f"Milvus at {connection.shown}: {name} is not loaded, and this command changes nothing; load it there, or "
            "with: ingest run"
        )


def load_state(connection: Connection, name: str) -> Any:
    """Return pymilvus' LoadState of a collection."""
    return connection.call(f"ask whether {name} is loaded", connection.client.get_load_state, name)["state"]


def replicas_of(connection: Connection, name: str) -> list[int]:
    """Return for each replica the id of its collection; nothing if the server does not tell.

    A name, or an alias, is looked up where the server looks for those of searches: in what its proxy has cached
    (`GetReplicas` in internal/proxy/impl.go, the same from 2.3 to 3.0). pymilvus asks by an id that it looks up before.
    """
    import grpc
    from pymilvus.exceptions import MilvusException
    from pymilvus.grpc_gen import milvus_pb2

    asked = milvus_pb2.GetReplicasRequest(collection_name=name)
    try:
        answer = connection.request("GetReplicas", asked, _ANSWER_S)
    except (MilvusException, grpc.RpcError):
        return []
    return [int(replica.collectionID) for replica in answer.replicas]


def _load(connection: Connection, name: str, replicas: int = 0) -> None:
    asked = {"replica_number": replicas} if replicas else {}
    client = connection.client
    connection.call(f"load {name}", client.load_collection, name, timeout=CALL_TIMEOUT_S, **asked)


def _change(connection: Connection, name: str, replicas: int) -> None:
    """Give a loaded collection another number of replicas, or say that this server cannot."""
    try:
        _load(connection, name, replicas)
    except MilvusError as error:
        if not (match := _OTHER_REPLICAS.search(str(error))):
            raise
        log.warning(
            "%s stays loaded with its %s replicas, for the server cannot change them while it serves; for %d, "
            "release it when apps can do without it, and run again", name, match[1], replicas,
        )  # fmt: skip


def _load_lite(connection: Connection, name: str) -> None:
    try:
        _load(connection, name)
    except MilvusError:
        if not remove_torn_indexes(connection.place, name):
            raise
        log.warning("%s: the index of %s was cut short by a kill; it is built again", connection.shown, name)
        _load(connection, name)
