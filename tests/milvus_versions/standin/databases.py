"""Connecting, databases, and users' rights in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymilvus.grpc_gen import common_pb2

from milvus_versions.standin.call import operation
from milvus_versions.standin.catalog import DEFAULT, Database
from milvus_versions.standin.refusal import DATABASE_NOT_FOUND, RefusalError, invalid

if TYPE_CHECKING:
    from milvus_versions.standin.call import Call

NAMED = frozenset({"CreateDatabase", "DropDatabase", "DescribeDatabase"})
"""Methods whose `db_name` is the database that they act on."""
_FREE = frozenset({
    "Connect", "GetVersion", "AllocTimestamp", "ListDatabases", "CheckHealth", "DescribeCollection", "HasCollection",
    "ShowCollections", "DescribeIndex",
})  # fmt: skip
"""What everybody may: no right is asked for, or the role `public` has it (initPublicRolePrivilege, rootcoord)."""


class UnauthenticatedError(Exception):
    """No user, or a wrong password."""


class ForbiddenError(Exception):
    """A user without rights in this database."""


def check_rights(call: Call, password: str) -> None:
    """Refuse a user without rights in the database of the request's *metadata*, since 3.0 first of its body.

    PrivilegeInterceptor (internal/proxy/privilege_interceptor.go) asks GetCurDBNameFromContextOrDefault, which looks at
    the metadata alone, before fillDatabase has looked at the body.
    """
    if not call.server.users:
        return
    if call.server.users.get(call.user) != password:
        raise UnauthenticatedError("auth check failure, please check username and password are correct")
    granted = call.server.grants.get(call.user)
    if granted is None or call.method in _FREE:
        return
    where = (call.in_body if call.dialect.checks_rights_by_body else "") or call.in_metadata or DEFAULT
    if where not in granted:
        said = f"{call.method}: permission deny to {call.user}"
        raise ForbiddenError(f"{said} in the `{where}` database" if call.dialect.since(2, 4) else said)


@operation
def connect(call: Call) -> Any:
    # Connect in internal/proxy/impl.go: a missing database is refused
    name = call.in_metadata or DEFAULT
    if name not in call.catalog.databases:
        raise RefusalError(DATABASE_NOT_FOUND, f"database not found[database={name}]")
    info = common_pb2.ServerInfo(build_tags=f"v{call.dialect}", deploy_mode="STANDALONE")
    return call.answer(identifier=1, server_info=info)


@operation
def get_version(call: Call) -> Any:
    return call.answer(version=f"v{call.dialect}")


@operation
def check_health(call: Call) -> Any:
    return call.answer(isHealthy=True)


@operation
def alloc_timestamp(call: Call) -> Any:
    return call.answer(timestamp=call.catalog.number() << 18)


@operation
def list_databases(call: Call) -> Any:
    return call.answer(db_names=list(call.catalog.databases))


@operation
def create_database(call: Call) -> Any:
    name = call.request.db_name
    if name in call.catalog.databases:
        raise RefusalError(65535, f"database already exist: {name}")
    call.catalog.databases[name] = Database(name)
    return call.answer()


@operation
def drop_database(call: Call) -> Any:
    name = call.request.db_name
    if call.catalog.database(name).collections:
        raise invalid(f"{name} not empty, must drop all collections before drop database")
    del call.catalog.databases[name]
    return call.answer()


@operation
def describe_database(call: Call) -> Any:
    return call.answer(db_name=call.catalog.database(call.request.db_name).name)
