"""Aliases: made, moved, dropped, and looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from milvus_versions.standin.call import operation
from milvus_versions.standin.catalog import DEFAULT, Alias
from milvus_versions.standin.refusal import ALIAS_NOT_FOUND, ALIAS_TAKEN, COLLECTION_NOT_FOUND, RefusalError

if TYPE_CHECKING:
    from milvus_versions.standin.call import Call


@operation
def create_alias(call: Call) -> Any:
    name, alias, there = call.request.collection_name, call.request.alias, call.database.aliases
    if alias in call.database.collections:
        raise RefusalError(601, f"alias and collection name conflict[database={call.database_name}][alias={alias}]")
    _check_target(call)
    if alias in there and there[alias].target != name:
        raise RefusalError(
            ALIAS_TAKEN, f"{alias} is alias to another collection: {there[alias].target}: alias already exist"
        )
    there[alias] = Alias(name)
    return call.answer()


@operation
def alter_alias(call: Call) -> Any:
    _check_target(call)
    there = call.database.aliases.get(call.request.alias)
    if there is None:
        raise _missing(call)
    caches = call.dialect.caches_aliases
    server = call.server
    there.move(call.request.collection_name, *((server.alias_stale, server.alias_stale_s) if caches else (0, 0.0)))
    return call.answer()


@operation
def drop_alias(call: Call) -> Any:
    call.database.aliases.pop(call.request.alias, None)
    return call.answer()


@operation
def describe_alias(call: Call) -> Any:
    name = DEFAULT if call.dialect.looks_for_aliases_in_default else call.database_name
    there = call.catalog.database(name).aliases.get(call.request.alias)
    if there is None:
        raise _missing(call)
    return call.answer(db_name=name, alias=call.request.alias, collection=there.target)


@operation
def list_aliases(call: Call) -> Any:
    name = call.request.collection_name
    target = call.collection(name, cached=False).name if name else ""
    found = [alias for alias, to in call.database.aliases.items() if target in ("", to.target)]
    return call.answer(db_name=call.database_name, collection_name=target, aliases=found)


def _missing(call: Call) -> RefusalError:
    return RefusalError(ALIAS_NOT_FOUND, f"alias not found[database={call.database_name}][alias={call.request.alias}]")


def _check_target(call: Call) -> None:
    name = call.request.collection_name
    if name not in call.database.collections:
        raise RefusalError(
            COLLECTION_NOT_FOUND, f"collection not found[database={call.database_name}][collection={name}]"
        )
