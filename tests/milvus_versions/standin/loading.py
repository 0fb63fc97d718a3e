"""Collections in memory: load, with replicas, and release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from milvus_versions.standin.call import operation
from milvus_versions.standin.refusal import (
    COLLECTION_NOT_FOUND,
    COLLECTION_NOT_LOADED,
    INDEX_NOT_FOUND,
    PARAMETER_INVALID,
    REPLICA_NOT_FOUND,
    RefusalError,
)

if TYPE_CHECKING:
    from milvus_versions.standin.call import Call
    from milvus_versions.standin.catalog import Collection

DEFAULT_GROUP = "__default_resource_group"
REPLICAS, GROUPS = "collection.replica.number", "collection.resource_groups"
"""CollectionReplicaNumber and CollectionResourceGroups in pkg/common/common.go."""


@operation
def load_collection(call: Call) -> Any:
    collection, request = call.collection(), call.request
    if not collection.indexes:
        raise RefusalError(INDEX_NOT_FOUND, f"index not found[collection={collection.name}]")
    if request.refresh:
        collection.refresh()
        return call.answer()
    asked = request.replica_number
    if call.dialect.resets_replicas:
        named = collection.properties
        asked = asked or int(named.get(REPLICAS, 0)) or 1
        groups = tuple(request.resource_groups) or tuple(filter(None, named.get(GROUPS, "").split(",")))
        collection.resource_groups = groups
    else:
        asked = asked or 1
        if collection.replicas and collection.replicas != asked:
            # LoadCollectionJob.PreExecute, internal/querycoordv2/job/job_load.go, 2.3
            said = (
                f"can't change the replica number for loaded collection: expected={collection.replicas}, actual={asked}"
            )
            raise RefusalError(
                PARAMETER_INVALID, f"{said}: invalid parameter[expected={collection.replicas}][actual={asked}]"
            )
    collection.replicas = asked
    collection.refresh()
    return call.answer()


@operation
def release_collection(call: Call) -> Any:
    call.collection().replicas = 0
    return call.answer()


@operation
def get_loading_progress(call: Call) -> Any:
    collection = call.collection()
    if not collection.replicas:
        raise not_loaded(collection)
    return call.answer(progress=100, refresh_progress=100)


@operation
def get_load_state(call: Call) -> Any:
    found = call.database.find(call.request.collection_name)
    states = common_pb2.LoadState
    if found is None:
        return call.answer(state=states.LoadStateNotExist)
    return call.answer(state=states.LoadStateLoaded if found.replicas else states.LoadStateNotLoad)


@operation
def get_replicas(call: Call) -> Any:
    """Answer by name, as the proxy resolves it, or by id (GetReplicas in internal/proxy/impl.go)."""
    number = call.request.collectionID
    if call.request.collection_name:
        collection = call.collection(cached=True)
    else:
        known = (one for one in call.database.collections.values() if one.number == number)
        if (collection := next(known, None)) is None:
            raise RefusalError(COLLECTION_NOT_FOUND, f"collection not found[collection={number}]")
    if not collection.replicas:
        raise RefusalError(REPLICA_NOT_FOUND, f"replica not found[replica={collection.number}]")
    groups = collection.resource_groups or (DEFAULT_GROUP,)
    replicas = [
        milvus_pb2.ReplicaInfo(
            replicaID=collection.number * 100 + place, collectionID=collection.number, node_ids=[place + 1],
            resource_group_name=groups[place % len(groups)],
        )
        for place in range(collection.replicas)
    ]  # fmt: skip
    return call.answer(replicas=replicas)


def not_loaded(collection: Collection) -> RefusalError:
    return RefusalError(COLLECTION_NOT_LOADED, f"collection not loaded[collection={collection.number}]")


def check_loaded(collection: Collection) -> None:
    """Refuse to read a collection that is not loaded (checkIfLoaded, proxy/task_query.go and task_search.go)."""
    if not collection.replicas:
        raise not_loaded(collection)
