"""One request to the stand-in: its user, message and database, and the operation that answers it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pymilvus.grpc_gen import milvus_pb2

from milvus_versions.standin.catalog import DEFAULT
from milvus_versions.standin.refusal import COLLECTION_NOT_FOUND, RefusalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from milvus_versions.standin.catalog import Catalog, Collection, Database
    from milvus_versions.standin.dialect import Dialect
    from milvus_versions.standin.server import Server

METHODS = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods_by_name
OPERATIONS: dict[str, Callable[[Call], Any]] = {}
"""The operations that the stand-in implements, by the method's name in milvus.proto."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request, the database in its body and the one in its metadata, "" if there is none."""

    server: Server
    method: str
    request: Any
    in_body: str
    in_metadata: str
    user: str

    @property
    def dialect(self) -> Dialect:
        return self.server.dialect

    @property
    def catalog(self) -> Catalog:
        return self.server.catalog

    @property
    def database_name(self) -> str:
        """The body's, else the metadata's (fillDatabase, internal/proxy/database_interceptor.go, in all versions)."""
        return self.in_body or self.in_metadata or DEFAULT

    @property
    def database(self) -> Database:
        return self.catalog.database(self.database_name)

    def collection(self, name: str = "", *, cached: bool = False) -> Collection:
        """Return the collection that is named, `cached` by the proxy's cache of aliases; refuses a missing one."""
        name = name or self.request.collection_name
        found = self.database.find(name, cached=cached)
        if found is None:
            raise RefusalError(
                COLLECTION_NOT_FOUND, f"collection not found[database={self.database_name}][collection={name}]"
            )
        return found

    def answer(self, **values: Any) -> Any:
        """Return this method's answer for success."""
        return answer_type(self.method)(**values)


def operation(function: Callable[[Call], Any]) -> Callable[[Call], Any]:
    """Register a function as the operation of its name: `create_alias` answers CreateAlias."""
    OPERATIONS["".join(word.capitalize() for word in function.__name__.rstrip("_").split("_"))] = function
    return function


def answer_type(method: str) -> Any:
    return METHODS[method].output_type._concrete_class


def refused(method: str, refusal: RefusalError) -> Any:
    """Return a method's answer with this refusal."""
    kind = answer_type(method)
    return refusal.status() if "status" not in kind.DESCRIPTOR.fields_by_name else kind(status=refusal.status())


def pairs(message: Any) -> dict[str, str]:
    """Return key-value pairs as a dictionary."""
    return {pair.key: pair.value for pair in message}


def camel(name: str) -> str:
    """Return a method's name as words: `CreateAlias` is `create alias`."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()
