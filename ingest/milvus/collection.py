"""The physical collection behind the alias: created or checked, read back, flushed, and served."""

from __future__ import annotations

import logging
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingest.core import carried_properties
from ingest.core import contract as contracts
from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.core.errors import MilvusError
from ingest.core.wording import quantity
from ingest.milvus import alias, filters, index_parameters, lite, pages, properties, schema
from ingest.milvus.connection import CALL_TIMEOUT_S, WRITE_TIMEOUT_S
from ingest.milvus.loading import load

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.contract import Contract, Space
    from ingest.milvus.connection import Connection

log = logging.getLogger(__name__)

_POLL_S = 0.5
_NO_PROGRESS_S = 600.0
"""A server that builds other collections' indexes first may not start with this one's for minutes."""
_STALE_S, _SAY_AFTER_S = 30.0, 10.0


class Collection:
    """The collection of one contract and one embedding space. All reads are strong: they see every acknowledged row."""

    def __init__(self, connection: Connection, contract: Contract, space: Space) -> None:
        self.connection = connection
        self.contract = contract
        self.space = space
        self.name = contracts.collection_name(contract, space)

    def prepare(self) -> None:
        """Create the collection, or check and complete an existing one, and load it.

        Nothing is written to a collection that does not fit. Raises MilvusError for one, and for an alias that is not
        ingest's.
        """
        served = self.check_alias()
        if self.exists():
            self._settle_index(self._checked_index())
            self._update_properties({} if served == self.name else {contracts.FILLING: _now()})
        else:
            self._create()
            self._settle_index(None)
        self.load()

    def ready(self) -> bool:
        """Return whether the collection exists with its index, and change nothing; raises MilvusError as `prepare`."""
        self.check_alias()
        return self.exists() and (self._checked_index() is not None or not self.is_indexed)

    def pending_updates(self) -> list[str]:
        """Return in words what `prepare` would bring up to date in a collection that is ready."""
        found = []
        if not self.is_indexed and self.index() is not None:
            found.append(f"drop the index of {self.name}: Milvus Lite finds more by comparing with every row")
        if self._newer_contract():
            found.append(f"write the contract again that {self.name} carries for apps")
        return found

    @property
    def is_indexed(self) -> bool:
        """Whether the contract's index is built: not in Milvus Lite, whose HNSW loses rows behind a filter.

        Lite (3.2.2) finds `ef` rows and drops those that do not match. Without an index it compares the query with
        every row that matches. Either way a search costs a Python loop over all rows.
        """
        return not self.connection.is_lite

    def exists(self) -> bool:
        """Return whether the collection exists."""
        return bool(self._call("look for the collection", self.connection.client.has_collection, self.name))

    def load(self) -> None:
        """Load the collection into memory if it is not."""
        load(self.connection, self.name, self.contract.layout.replicas)

    def rows(self) -> Iterator[list[dict[str, str]]]:
        """Yield all rows' product_id, row_digest and image_sha256, thousands at a time."""
        return pages.pages(self.connection, self.name, [PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256], "Strong")

    def delete(self, product_ids: Sequence[str]) -> None:
        """Delete the rows of these products; missing ones do not matter."""
        client = self.connection.client
        self._call(
            f"delete rows of {self.name}", client.delete, self.name, filter=filters.among(PRIMARY_KEY, product_ids),
            timeout=WRITE_TIMEOUT_S, retry_on_rate_limit=False,
        )  # fmt: skip

    def count(self, consistency: str = "Strong") -> int:
        """Count the rows with `count(*)`: `num_entities` counts deleted ones until compaction."""
        client = self.connection.client
        answer = self._call(
            f"count the rows of {self.name}", client.query, self.name, filter="", output_fields=["count(*)"],
            consistency_level=consistency, timeout=CALL_TIMEOUT_S,
        )  # fmt: skip
        return int(answer[0]["count(*)"])

    def flush(self) -> None:
        """Have the server write the acknowledged rows to its storage and index them."""
        self._call(f"flush {self.name}", self.connection.client.flush, self.name, timeout=CALL_TIMEOUT_S)

    def wait_for_index(self, stop: threading.Event) -> None:
        """Wait until the flushed rows are indexed, and visible to apps, which read with bounded staleness.

        `stop`, or ten minutes without progress, ends the wait.
        """
        began = last_progress = time.monotonic()
        fewest: float = math.inf
        while (pending := self._pending_rows()) and not stop.wait(_POLL_S):
            if pending < fewest:  # only a new minimum is progress: a compaction may add rows, more than once
                fewest, last_progress = pending, time.monotonic()
            elif time.monotonic() - last_progress > _NO_PROGRESS_S:
                return
            if time.monotonic() - began > _SAY_AFTER_S:
                self.connection.say(
                    f"waiting for Milvus at {self.connection.shown} to index {quantity(pending, 'row')} of {self.name}"
                )
        ends = time.monotonic() + _STALE_S
        # Both are counted each time: during a compaction count(*) may be too large (milvus-io/milvus #31484).
        while self.count("Bounded") < self.count() and time.monotonic() < ends and not stop.wait(_POLL_S):
            pass

    def _pending_rows(self) -> int:
        """Return how many rows are not indexed yet, 1 if the server says only that there are some."""
        description = self.index() or {}
        is_unfinished = str(description.get("state", "Finished")) != "Finished"
        return int(description.get("pending_index_rows", 0)) or int(is_unfinished)

    def alias_target(self) -> str | None:
        """Return the collection that the alias points to, or None."""
        return alias.alias_target(self.connection, self.contract.alias)

    def switch_alias(self, instead_of: str | None) -> None:
        """Point the alias here, in one call; raises MilvusError if it serves neither `instead_of` nor this."""
        alias.switch(self.connection, self.contract.alias, self.name, instead_of)

    def check_not_taken(self) -> None:
        """Raise MilvusError if the alias, which served this collection, serves another by now.

        If a run was killed while it moved the alias, what it had left to do is done.
        """
        alias.check_not_taken(self.connection, self.contract.alias, self.name, self.name)
        alias.complete(self.connection, self.contract.alias, self.name)

    def index(self) -> Any:
        """Return Milvus' description of the index over the vectors, None if there is none."""
        return self._call(
            f"describe the index of {self.name}", self.connection.client.describe_index, self.name, self._field
        )

    def index_faults(self, description: Any) -> list[str]:
        """Return how an index, as `index` describes it, differs from the contract's."""
        return index_parameters.index_misfits(description, self.contract) if self.is_indexed else []

    def find(self, product_ids: Sequence[str], fields: list[str]) -> list[dict[str, Any]]:
        """Return the existing rows of these products, with these fields."""
        return pages.rows(self.connection, self.name, product_ids, fields, "Strong")

    def digests(self, product_ids: Sequence[str]) -> dict[str, str]:
        """Return the row digests, by id, of those products that have a row."""
        return {row[PRIMARY_KEY]: row[ROW_DIGEST] for row in self.find(product_ids, [ROW_DIGEST])}

    def search(self, vectors: list[NDArray[np.float32]], limit: int, ef: int) -> list[Any]:
        """Return for each unit vector, (dim,) float32, its nearest rows as Milvus answers: ids and scores."""
        answer: list[Any] = self._call(
            f"search {self.name}", self.connection.client.search, self.name, data=vectors, anns_field=self._field,
            limit=limit, search_params={"metric_type": "IP", "params": {"ef": ef}},
            consistency_level="Strong", timeout=CALL_TIMEOUT_S,
        )  # fmt: skip
        return answer

    @property
    def _field(self) -> str:
        return self.contract.index.field

    def _create(self) -> None:
        shards = {"num_shards": self.contract.layout.shards} if self.contract.layout.shards else {}
        if self.connection.is_lite:
            lite.remove_half_created(self.connection.place, self.name)
        # Without index parameters: with them, the client would load it at once, with one replica.
        self._call(
            f"create {self.name}",
            self.connection.client.create_collection,
            self.name,
            schema=schema.schema(self.contract, self.space.dim),
            properties={
                contracts.PROPERTY: contracts.to_json(self.contract, self.space),
                contracts.BUILT: _now(),
                contracts.FILLING: _now(),
                **properties.of_layout(self.contract.layout),
            },
            timeout=CALL_TIMEOUT_S,
            **shards,
        )

    def _settle_index(self, existing: Any) -> None:
        """Create an index that is missing, as after a kill; drop one that an older ingest built in Milvus Lite."""
        client = self.connection.client
        if self.is_indexed and existing is None:
            self._call(
                f"create the index of {self.name}", client.create_index, self.name,
                index_parameters.index_params(self.contract), timeout=CALL_TIMEOUT_S,
            )  # fmt: skip
        elif existing is not None and not self.is_indexed:
            self._call(f"release {self.name}", client.release_collection, self.name)
            self._call(f"drop the index of {self.name}", client.drop_index, self.name, self._field)

    def carried_contract(self) -> str:
        """Return the contract that the collection carries in its properties, as JSON; "" if it carries none."""
        return str(properties.get(self.connection, self.name).get(contracts.PROPERTY, ""))

    def _update_properties(self, more: dict[str, str]) -> None:
        """Bring the properties that apps and the server read up to date; an ef measured on this collection stays."""
        newer = self._newer_contract()
        wanted = more | properties.of_layout(self.contract.layout) | ({contracts.PROPERTY: newer} if newer else {})
        properties.update(self.connection, self.name, wanted)

    def _newer_contract(self) -> str:
        """Return the contract that the collection should carry, as JSON; "" if it already does."""
        carried = self.carried_contract()
        wanted = contracts.to_json(self.contract, self.space, carried_properties.measured_ef(carried))
        return "" if carried == wanted else wanted

    def _checked_index(self) -> Any:
        """Return the index, None if there is none; raises MilvusError if it or the collection does not fit."""
        client = self.connection.client
        description = self._call("describe the collection", client.describe_collection, self.name)
        index = self.index()
        faults = schema.misfits(description, self.contract, self.space.dim)
        if faults := faults or self.index_faults(index):
            raise MilvusError(
                f"Milvus at {self.connection.shown}: collection {self.name} does not fit the contract: "
                f"{'; '.join(faults)}; drop or rename it, or change the alias in the contract"
            )
        return index

    def check_alias(self) -> str | None:
        """Return what the alias serves, None if nothing.

        Raises MilvusError if the alias is the name of a collection, or serves one that ingest did not build; and if it
        is about to move, but the name of the second alias is somebody else's.
        """
        client, alias_name = self.connection.client, self.contract.alias
        target = self.alias_target()
        if target is None:
            if alias_name in self._call("list the collections", client.list_collections):
                raise MilvusError(
                    f"Milvus at {self.connection.shown}: {alias_name} is a collection, not an alias; "
                    "rename it, or change the alias in the contract"
                )
            return None
        description = self._call("describe the collection", client.describe_collection, target)
        if target != self.name:
            built_for = properties.contract_of_served(self.connection, alias_name, target, description)["alias"]
            if contracts.previous_alias(built_for) == alias_name:
                raise MilvusError(
                    f"Milvus at {self.connection.shown}: the alias {alias_name} points to {target}, which {built_for} "
                    "served before, for ingest rollback; change the alias in the contract"
                )
            alias.check_previous(self.connection, alias_name)
        else:
            properties.check_built(self.connection, alias_name, target, description)
        return target

    def _call(self, doing: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        return self.connection.call(doing, function, *args, **kwargs)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
