"""Collections in memory: whether one is loaded, and loading it without taking away replicas that it has."""

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

_POLL_S = 0.5
_ANSWER_S = 10.0
_OTHER_REPLICAS = re.compile(r"can't change the replica number for loaded collection.*expected=(\d+)")


def load(connection: Connection, name: str, replicas: int = 0) -> None:
    """Load a collection into memory if it is not, with so many replicas; 0 leaves their number to the server.

    A loaded one is left alone unless it has another number of replicas than wanted: since Milvus 2.4.13 a load that
    names no number resets replicas and resource groups to the collection's properties, or to one replica. Milvus 2.3.5
    refuses to change them. An index file of Milvus Lite that a kill has cut short is built again.
    """
    if connection.is_lite:
        _load_lite(connection, name)
    elif not is_loaded(connection, name):
        _load(connection, name, replicas)
    elif replicas and len(replicas_of(connection, name)) not in (0, replicas):  # 0: the server does not tell
        _change(connection, name, replicas)


def is_loaded(connection: Connection, name: str) -> bool:
    """Return whether a collection can be searched, without loading it; if it is loading, wait for it.

    A Milvus Lite file opens with nothing in memory, so there the collection is loaded, for this process only.
    """
    from pymilvus.client.types import LoadState

    if connection.is_lite:
        _load_lite(connection, name)
        return True
    doing, ends = f"load {name}", time.monotonic() + CALL_TIMEOUT_S
    while (state := load_state(connection, name)) == LoadState.Loading and time.monotonic() < ends:
        connection.say(f"waiting for Milvus at {connection.shown} to load {name}")
        connection.pause(_POLL_S, doing)
    return bool(state == LoadState.Loaded)


def check_loaded(connection: Connection, name: str) -> None:
    """Raise MilvusError if somebody has released the collection; otherwise as `is_loaded`."""
    if not is_loaded(connection, name):
        raise MilvusError(
            f"Milvus at {connection.shown}: {name} is not loaded, and this command changes nothing; load it there, or "
            "run: ingest run"
        )


def load_state(connection: Connection, name: str) -> Any:
    """Return pymilvus' LoadState of a collection."""
    return connection.call(f"ask whether {name} is loaded", connection.client.get_load_state, name)["state"]


def replicas_of(connection: Connection, name: str) -> list[int]:
    """Return for each replica the id of its collection; nothing if the server does not say.

    The name, or alias, is resolved as for a search: from the proxy's cache (`GetReplicas` in internal/proxy/impl.go,
    the same from 2.3 to 3.0). pymilvus' own call sends an id that it has looked up itself.
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
    """Give a loaded collection another number of replicas, or log that this server cannot."""
    try:
        _load(connection, name, replicas)
    except MilvusError as error:
        if not (match := _OTHER_REPLICAS.search(str(error))):
            raise
        log.warning(
            "%s stays loaded with replicas: %s, because the server cannot change their number while it serves; for %d, "
            "release it when apps can do without it, and run again", name, match[1], replicas,
        )  # fmt: skip


def _load_lite(connection: Connection, name: str) -> None:
    try:
        _load(connection, name)
    except MilvusError:
        if not remove_torn_indexes(connection.place, name):
            raise
        log.warning("%s: a kill has cut the index of %s short; it is built again", connection.shown, name)
        _load(connection, name)
