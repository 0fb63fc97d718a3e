"""Names: those refused for fields, those of collections and aliases, and errors for missing ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymilvus.grpc_gen import common_pb2

from milvus_versions.standin.refusal import (
    COLLECTION_NOT_FOUND,
    FIELD_NAME_INVALID,
    UNEXPECTED,
    RefusalError,
    invalid,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milvus_versions.standin.call import Call
    from milvus_versions.standin.dialect import Dialect

KEYWORDS = {
    (2, 4, 12): (
        "$meta like exists EXISTS and or not in true True TRUE false False FALSE json_contains JSON_CONTAINS "
        "json_contains_all JSON_CONTAINS_ALL json_contains_any JSON_CONTAINS_ANY array_contains ARRAY_CONTAINS "
        "array_contains_all ARRAY_CONTAINS_ALL array_contains_any ARRAY_CONTAINS_ANY array_length ARRAY_LENGTH"
    ),
    (2, 5): "text_match TEXT_MATCH",
    (2, 6): "phrase_match PHRASE_MATCH random_sample RANDOM_SAMPLE",
    (3, 0): "RowID Timestamp __virtual_pk__",
}
"""FieldNameKeywords in pkg/common/keywords.go, by the version that first has them; 3.0's are reserved elsewhere."""
_FORM = "Field name can only contain numbers, letters, and underscores."


def check_fields(dialect: Dialect, schema: Any) -> None:
    """Refuse a schema with a field named like a word of the filter language (validateFieldName, proxy/util.go)."""
    refused = {word for since, words in KEYWORDS.items() if dialect.since(*since) for word in words.split()}
    for field in schema.fields:
        name = field.name
        said = f"Invalid field name: {name}. "
        # IsFieldNameKeyword, 3.0: `null` however it is written
        if name in refused or (dialect.since(3) and name.lower() == "null"):
            raise RefusalError(
                FIELD_NAME_INVALID, f"{said}{name} is keyword in milvus.: field name invalid[field={name}]"
            )
        if not (name.replace("_", "a").isalnum() and name.isascii()) or name[0].isdigit():
            raise RefusalError(FIELD_NAME_INVALID, f"{said}{_FORM}: field name invalid[field={name}]")
        if dialect.has_nullable and field.nullable and (field.is_primary_key or field.is_partition_key):
            # validatePartitionKey… in internal/proxy/task.go, validatePrimaryKey in util.go
            raise invalid(f"{'primary' if field.is_primary_key else 'partition'} key field not support nullable")


def check_droppable(dialect: Dialect, name: str, aliases: Sequence[str]) -> None:
    """Refuse to drop a collection that an alias points to (internal/rootcoord/drop_collection_task.go)."""
    if aliases and dialect.keeps_collections_with_aliases:
        reason = f"unable to drop the collection [{name}] because it has associated aliases [{' '.join(aliases)}], "
        reason += "please remove all aliases before dropping the collection"
        raise invalid(reason) if dialect.since(2, 6) else RefusalError(UNEXPECTED, reason)


def taken_by_alias(dialect: Dialect, name: str) -> RefusalError:
    return plain(dialect, f"collection name [{name}] conflicts with an existing alias, please choose a unique name")


def undescribable(call: Call, name: str) -> RefusalError:
    """Return what DescribeCollection says about a missing collection.

    describeCollectionTask in internal/proxy/task.go; since it may come from the cache, wrapErrorStatus in
    service_provider.go, whose status has no code, and describeCollectionErrorStatus in 3.0.
    """
    where, dialect = f"[database={call.database_name}][collection={name}]", call.dialect
    reason = f"can't find collection{where}"
    if dialect.since(3):
        return RefusalError(COLLECTION_NOT_FOUND, reason)
    if dialect.describes_from_cache:
        return RefusalError(0, reason, common_pb2.CollectionNotExists)
    if not dialect.since(2, 4):
        reason = f"can't find collection collection not found{where}"
    return RefusalError(COLLECTION_NOT_FOUND, reason, common_pb2.UnexpectedError)
