"""The collection that the alias serves now, followed when the alias moves or the contract changes."""

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

LOOK_EVERY_S = 2.0
"""How long a moved alias may go unseen; until then, answers come whole from the collection before."""


class AliasWatcher:
    """What is served, and whether it can be: `served` and `checked` for the routes, `fault` for /readyz."""

    def __init__(self, connection: Connection, alias: str, space: Space) -> None:
        """Find it; raises MilvusError where nothing is served, ModelError where the model is not the collection's."""
        self._connection = connection
        self._alias = alias
        self._space = space
        self._lock = threading.Lock()
        self._seen: tuple[str | None, str] = (None, "")
        self._fault: IngestError | None = None
        self._follow()
        self.checked()

    @property
    def served(self) -> SearchableCollection:
        """The collection and its contract."""
        return self._served

    @property
    def fault(self) -> str:
        """Why the service is not ready; "" where it is."""
        return str(self._fault or self._mismatch or "")

    def checked(self) -> SearchableCollection:
        """Return the collection to search by a vector of the service's model; raises ModelError for another space."""
        if self._mismatch is not None:
            raise self._mismatch
        return self._served

    def look(self) -> None:
        """Look whether the alias moved; a failure is kept for `fault`, and what was served stays."""
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
        described = self._connection.call("look at the contract", self._connection.client.describe_collection, name)
        seen = (name, str(described.get("properties", {}).get(PROPERTY)))
        if seen == self._seen:
            return
        served = SearchableCollection(self._connection, self._alias)
        mismatch = None
        try:
            served.check(self._space)
        except IngestError as error:
            mismatch = error
        if self._seen[0] not in (None, name):
            log.warning("%s", f"the alias {self._alias} moved from {self._seen[0]} to {name}")
        self._served, self._mismatch, self._seen = served, mismatch, seen
