"""Names: which are refused for fields, what a collection is called through an alias, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from milvus_versions.standin.refusal import COLLECTION_NOT_FOUND, FIELD_NAME_INVALID, UNEXPECTED, RefusalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from milvus_versions.standin.call import Call
    from milvus_versions.standin.dialect import Dialect

KEYWORDS = {
    (2, 4, 12): (
        "like exists EXISTS and or not in true True TRUE false False FALSE json_contains JSON_CONTAINS "
        "json_contains_all JSON_CONTAINS_ALL json_contains_any JSON_CONTAINS_ANY array_contains ARRAY_CONTAINS array_contains_all "
        "ARRAY_CONTAINS_ALL array_contains_any ARRAY_CONTAINS_ANY array_length ARRAY_LENGTH"
    ),
    (2, 5): "text_match TEXT_MATCH",
    (2, 6): "phrase_match PHRASE_MATCH random_sample RANDOM_SAMPLE",
    (3, 0): "null NULL RowID Timestamp __virtual_pk__",
}
"""FieldNameKeywords in pkg/common/common.go, by the version that first has them."""


def check_fields(dialect: Dialect, schema: Any) -> None:
    """Refuse a schema with a field that bears a word of the filter language."""
    refused = {word for since, words in KEYWORDS.items() if dialect.since(*since) for word in words.split()}
    for field in schema.fields:
        if field.name in refused:
            raise RefusalError(
                FIELD_NAME_INVALID, f"Invalid field name: {field.name}. {field.name} is keyword in milvus."
            )


def check_droppable(dialect: Dialect, name: str, aliases: Sequence[str]) -> None:
    """Refuse to drop a collection that an alias points to; 2.3.5 does it, and leaves the alias dangling."""
    if aliases and dialect.since(2, 4):
        reason = f"unable to drop the collection [{name}] because it has associated aliases [{' '.join(aliases)}], "
        raise RefusalError(UNEXPECTED, f"{reason}please remove all aliases before dropping the collection")


def taken_by_alias(call: Call, name: str) -> RefusalError:
    return RefusalError(
        UNEXPECTED, f"collection name [{name}] conflicts with an existing alias, please choose a unique name"
    )


def described(dialect: Dialect, asked: str, name: str) -> str:
    """Return what DescribeCollection calls a collection that was asked for by an alias."""
    return asked if dialect.since(2, 6) else name


def undescribable(call: Call, name: str) -> RefusalError:
    """Return what DescribeCollection says of a collection that is not there."""
    if call.dialect.since(2, 5) and not call.dialect.since(3, 0):
        reason = f"can't find collection[database={call.database_name}][collection={name}]"
        return RefusalError(0, reason, old=1)
    reason = f"can't find collection[database={call.database_name}][collection={name}]"
    return RefusalError(COLLECTION_NOT_FOUND, reason, old=1)
