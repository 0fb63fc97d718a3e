"""Collections and their indexes: create, describe, alter, drop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymilvus import DataType
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from milvus_versions.standin import naming
from milvus_versions.standin.call import operation, pairs
from milvus_versions.standin.catalog import META, Collection
from milvus_versions.standin.refusal import INDEX_NOT_FOUND, RefusalError, invalid

if TYPE_CHECKING:
    from milvus_versions.standin.call import Call

_FIRST_FIELD = 100
"""common.StartOfUserFieldID"""


@operation
def create_collection(call: Call) -> Any:
    request = call.request
    schema = schema_pb2.CollectionSchema.FromString(request.schema)
    naming.check_fields(call.dialect, schema)
    if request.collection_name in call.database.aliases:
        raise naming.taken_by_alias(call.dialect, request.collection_name)
    if (there := call.database.collections.get(request.collection_name)) is not None:
        if there.schema.SerializeToString() == _settled(call, schema).SerializeToString():
            return call.answer()  # createCollectionTask is idempotent for equal parameters
        raise RefusalError(65535, f"create duplicate collection with different parameters, collection: {there.name}")
    made = Collection(
        call.catalog.number(), request.collection_name, _settled(call, schema), pairs(request.properties),
        request.shards_num or 1,
    )  # fmt: skip
    call.database.collections[made.name] = made
    return call.answer()


def _settled(call: Call, schema: Any) -> Any:
    """Return the schema as the server keeps it: with the dynamic field, and without fields unknown to its version."""
    made = schema_pb2.CollectionSchema()
    made.CopyFrom(schema)
    if made.enable_dynamic_field:
        made.fields.add(name=META, data_type=DataType.JSON, is_dynamic=True)
    for place, field in enumerate(made.fields):
        field.fieldID = _FIRST_FIELD + place
        if not call.dialect.has_nullable:
            field.nullable = False
    return made


@operation
def drop_collection(call: Call) -> Any:
    name = call.request.collection_name
    collections, aliases = call.database.collections, call.database.aliases
    naming.check_droppable(call.dialect, name, [alias for alias, to in aliases.items() if to.target == name])
    collections.pop(name, None)  # dropping a missing one succeeds (dropCollectionTask, internal/rootcoord)
    return call.answer()


@operation
def has_collection(call: Call) -> Any:
    return call.answer(value=call.database.find(call.request.collection_name) is not None)


@operation
def describe_collection(call: Call) -> Any:
    name = call.request.collection_name
    found = call.database.find(name, cached=False)
    if found is None:
        raise naming.undescribable(call, name)
    schema = schema_pb2.CollectionSchema()
    schema.CopyFrom(found.schema)
    del schema.fields[:]
    schema.fields.extend(field for field in found.schema.fields if not field.is_dynamic)
    schema.name = found.name
    return call.answer(
        schema=schema, collectionID=found.number, collection_name=name, shards_num=found.shards,
        db_name=call.database_name, num_partitions=1,
        aliases=[alias for alias, to in call.database.aliases.items() if to.target == found.name],
        consistency_level=common_pb2.ConsistencyLevel.Bounded,
        properties=[common_pb2.KeyValuePair(key=key, value=value) for key, value in found.properties.items()],
    )  # fmt: skip


@operation
def show_collections(call: Call) -> Any:
    found = call.database.collections.values()
    if call.request.type == milvus_pb2.ShowType.InMemory:
        found = [collection for collection in found if collection.replicas]
    return call.answer(collection_names=[one.name for one in found], collection_ids=[one.number for one in found])


@operation
def alter_collection(call: Call) -> Any:
    properties = call.collection().properties
    properties.update(pairs(call.request.properties))
    for key in call.request.delete_keys:
        properties.pop(key, None)
    return call.answer()


@operation
def get_collection_statistics(call: Call) -> Any:
    rows = str(len(call.collection().rows))
    return call.answer(stats=[common_pb2.KeyValuePair(key="row_count", value=rows)])


@operation
def create_index(call: Call) -> Any:
    collection, name = call.collection(), call.request.field_name
    if name not in collection.fields:
        raise invalid(f"cannot create index on non-exist field: {name}")
    collection.indexes[name] = (call.request.index_name or name, list(call.request.extra_params))
    return call.answer()


@operation
def describe_index(call: Call) -> Any:
    collection, asked = call.collection(), call.request.index_name
    found = {
        field: (name, params)
        for field, (name, params) in collection.indexes.items()
        if asked in ("", name, field) and call.request.field_name in ("", field)
    }
    if not found:
        raise RefusalError(INDEX_NOT_FOUND, f"index not found[indexName={asked}]")
    rows = len(collection.rows)
    descriptions = [
        milvus_pb2.IndexDescription(
            index_name=name, field_name=field, params=params, state=common_pb2.IndexState.Finished, indexed_rows=rows,
            total_rows=rows,
        )
        for field, (name, params) in found.items()
    ]  # fmt: skip
    return call.answer(index_descriptions=descriptions)


@operation
def drop_index(call: Call) -> Any:
    collection = call.collection()
    if collection.replicas:
        raise invalid("index cannot be dropped, collection is loaded, please release it first")
    for field, (name, _) in list(collection.indexes.items()):
        if call.request.index_name in ("", name, field):
            del collection.indexes[field]
    return call.answer()
