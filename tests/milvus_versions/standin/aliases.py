"""Aliases: create, move, drop and look up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from milvus_versions.standin.call import operation
from milvus_versions.standin.catalog import DEFAULT, Alias
from milvus_versions.standin.refusal import (
    ALIAS_CONFLICT,
    ALIAS_NOT_FOUND,
    ALIAS_TAKEN,
    COLLECTION_NOT_FOUND,
    RefusalError,
)

if TYPE_CHECKING:
    from milvus_versions.standin.call import Call


@operation
def create_alias(call: Call) -> Any:
    name, alias, there = call.request.collection_name, call.request.alias, call.database.aliases
    if alias in call.database.collections:
        raise RefusalError(
            ALIAS_CONFLICT, f"alias and collection name conflict[database={call.database_name}][alias={alias}]"
        )
    _check_target(call)
    if alias in there and there[alias].target != name:
        # a dangling one too, as seen with 2.3.5: its collection is gone, and the name is taken
        said = f"{alias} is alias to another collection: {there[alias].target}: alias already exist"
        raise RefusalError(ALIAS_TAKEN, f"{said}[database={call.database_name}][alias={alias}]")
    there[alias] = Alias(name)
    return call.answer()


@operation
def alter_alias(call: Call) -> Any:
    _check_target(call)
    there = call.database.aliases.get(call.request.alias)
    if there is None:
        raise _missing(call)
    caches = call.dialect.keeps_aliases_by_name
    server = call.server
    there.move(call.request.collection_name, *((server.alias_stale, server.alias_stale_s) if caches else (0, 0.0)))
    return call.answer()


@operation
def drop_alias(call: Call) -> Any:
    call.database.aliases.pop(call.request.alias, None)
    return call.answer()


@operation
def describe_alias(call: Call) -> Any:
    name = _where(call)
    there = call.catalog.database(name).aliases.get(call.request.alias)
    if there is None or there.target not in call.catalog.database(name).collections:
        raise _missing(call)
    return call.answer(db_name=name, alias=call.request.alias, collection=there.target)


@operation
def list_aliases(call: Call) -> Any:
    name = call.request.collection_name
    where = call.catalog.database(_where(call))
    if name and (collection := where.find(name)) is None:
        raise RefusalError(COLLECTION_NOT_FOUND, f"collection not found[database={where.name}][collection={name}]")
    target = collection.name if name else ""
    found = [alias for alias, to in where.aliases.items() if target in ("", to.target)]
    return call.answer(db_name=where.name, collection_name=target, aliases=found)


def _where(call: Call) -> str:
    return call.database_name if call.dialect.passes_database_of_aliases else call.in_body or DEFAULT


def _missing(call: Call) -> RefusalError:
    return RefusalError(ALIAS_NOT_FOUND, f"alias not found[database={call.database_name}][alias={call.request.alias}]")


def _check_target(call: Call) -> None:
    name = call.request.collection_name
    if name not in call.database.collections:
        raise RefusalError(
            COLLECTION_NOT_FOUND, f"collection not found[database={call.database_name}][collection={name}]"
        )
