"""Follows the alias when it switches to another collection, or the contract changes."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ingest.core.contract import PROPERTY
from ingest.core.errors import IngestError, MilvusError
from ingest.milvus.alias import alias_target
from ingest.search.milvus_backend import SearchableCollection

if TYPE_CHECKING:
    from ingest.core.contract import Space
    from ingest.milvus.connection import Connection

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
"""How often the alias is checked. Until a switch is noticed, all answers come from the previous collection."""


class AliasWatcher:
    """The collection behind the alias, and whether the service's model matches it."""

    def __init__(self, connection: Connection, alias: str, space: Space) -> None:
        """Read the alias; raises MilvusError if it does not exist, ModelError if the model does not match."""
        self._connection = connection
        self._alias = alias
        self._space = space
        self._lock = threading.Lock()
        self._seen: tuple[str | None, str] = (None, "")
        self._fault: IngestError | None = None
        self._follow()
        self.matching_collection()

    @property
    def collection(self) -> SearchableCollection:
        """The collection and its contract."""
        return self._collection

    @property
    def fault(self) -> str:
        """Why the service is not ready; "" if it is."""
        return str(self._fault or self._mismatch or "")

    def matching_collection(self) -> SearchableCollection:
        """Return the collection, to search it with the service's model; raises ModelError if they do not match."""
        if self._mismatch is not None:
            raise self._mismatch
        return self._collection

    def refresh(self) -> None:
        """Check whether the alias switched. On a failure, `fault` says why and the collection stays the same."""
        with self._lock:
            before = self.fault
            try:
                self._follow()
            except IngestError as error:
                self._fault = error
            else:
                self._fault = None
            if self.fault != before:
                log.warning("%s", f"not ready: {self.fault}" if self.fault else "ready again")

    def _follow(self) -> None:
        name = alias_target(self._connection, self._alias)
        if name is None:
            raise MilvusError(f"Milvus at {self._connection.shown}: no alias {self._alias}; fill it with: ingest run")
        described = self._connection.call("read the contract", self._connection.client.describe_collection, name)
        seen = (name, str(described.get("properties", {}).get(PROPERTY)))
        if seen == self._seen:
            return
        collection = SearchableCollection(self._connection, self._alias)
        mismatch = None
        try:
            collection.check(self._space)
        except IngestError as error:
            mismatch = error
        if self._seen[0] not in (None, name):
            log.warning("%s", f"the alias {self._alias} switched from {self._seen[0]} to {name}")
        self._collection, self._mismatch, self._seen = collection, mismatch, seen
