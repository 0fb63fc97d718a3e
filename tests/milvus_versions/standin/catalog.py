"""The stand-in's data: databases, their collections and aliases, and each collection's rows."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from milvus_versions.standin.refusal import DATABASE_NOT_FOUND, RefusalError

if TYPE_CHECKING:
    from pymilvus.grpc_gen import schema_pb2

DEFAULT = "default"
META = "$meta"

Row = dict[str, Any]


@dataclass(slots=True)
class Collection:
    """One collection; `rows` are by primary key, in no order, and `replicas` is 0 while it is not loaded."""

    number: int
    name: str
    schema: schema_pb2.CollectionSchema
    properties: dict[str, str]
    shards: int = 1
    replicas: int = 0
    resource_groups: tuple[str, ...] = ()
    indexes: dict[str, Any] = field(default_factory=dict)
    rows: dict[Any, Row] = field(default_factory=dict)
    doubles: list[Row] = field(default_factory=list)
    """Rows that a job has imported beside others of their ids: an import only adds."""
    pending: list[Row] = field(default_factory=list)
    """Rows that a job has imported and the server serves only once the collection is refreshed."""
    flushed: float = float("-inf")

    @property
    def key(self) -> Any:
        """The schema of the primary key."""
        return next(field for field in self.schema.fields if field.is_primary_key)

    @property
    def fields(self) -> dict[str, Any]:
        """The schemas of all fields by name, the dynamic one included."""
        return {field.name: field for field in self.schema.fields}

    def put(self, row: Row) -> None:
        """Write a row, replacing all with its id."""
        self.remove(row[self.key.name])
        self.rows[row[self.key.name]] = row

    def add(self, row: Row) -> None:
        """Add a row, even if its id exists."""
        name = row[self.key.name]
        if name in self.rows:
            self.doubles.append(row)
        else:
            self.rows[name] = row

    def refresh(self) -> None:
        """Serve rows that were imported since the collection was loaded."""
        for row in self.pending:
            self.add(row)
        self.pending.clear()

    def remove(self, name: Any) -> None:
        """Remove all rows of an id."""
        self.rows.pop(name, None)
        if self.doubles:
            self.doubles = [row for row in self.doubles if row[self.key.name] != name]


@dataclass(slots=True)
class Alias:
    """What an alias points to, and what a caching proxy resolves it to until `stale_until`, or `stale` times."""

    target: str
    before: str = ""
    stale: int = 0
    stale_until: float = 0.0

    def move(self, target: str, stale: int, stale_s: float) -> None:
        """Point it elsewhere; requests through it still get the old target so many times, and for so long."""
        self.before, self.target = self.target, target
        self.stale, self.stale_until = stale, time.monotonic() + stale_s

    def seen(self) -> str:
        """Return the target that a request through the alias gets now."""
        if self.stale > 0:
            self.stale -= 1
            return self.before
        return self.before if time.monotonic() < self.stale_until else self.target


@dataclass(slots=True)
class Database:
    """The collections and aliases of one database."""

    name: str
    collections: dict[str, Collection] = field(default_factory=dict)
    aliases: dict[str, Alias] = field(default_factory=dict)

    def find(self, name: str, *, cached: bool = False) -> Collection | None:
        """Return the collection of this name or behind this alias, `cached` by the proxy's cache of aliases."""
        if name in self.collections:
            return self.collections[name]
        if (alias := self.aliases.get(name)) is None:
            return None
        if cached and (old := self.collections.get(alias.seen())):
            return old
        return self.collections.get(alias.target)


class Catalog:
    """The databases of one server; hold `lock` to change them."""

    def __init__(self) -> None:
        self.databases = {DEFAULT: Database(DEFAULT)}
        self.lock = threading.RLock()
        self._numbers = itertools.count(461_001)

    def number(self) -> int:
        """Return a new id."""
        return next(self._numbers)

    def database(self, name: str) -> Database:
        """Return a database; refuses a missing one."""
        if name not in self.databases:
            raise RefusalError(DATABASE_NOT_FOUND, f"database not found[database={name}]")
        return self.databases[name]
