"""The physical collection behind the alias: opened or made, read back, flushed, and put to serve."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core import contract as contracts
from ingest.core import search_ef
from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.core.errors import MilvusError
from ingest.milvus import alias, pages, properties, schema
from ingest.milvus.connection import CALL_TIMEOUT_S, WRITE_TIMEOUT_S
from ingest.milvus.loading import load

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.core.contract import Contract, Space
    from ingest.milvus.connection import Connection

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
_NO_PROGRESS_S = 600.0
"""A server that builds other collections' indexes first may not begin with this one's for minutes."""
_STALE_S, _SAID_AFTER_S = 30.0, 10.0


class Collection:
    """The collection for one contract and one space. What it reads, it reads strongly: every acknowledged row."""

    def __init__(self, connection: Connection, contract: Contract, space: Space) -> None:
        self.connection = connection
        self.contract = contract
        self.space = space
        self.name = contracts.collection_name(contract, space)

    def prepare(self) -> None:
        """Make the collection, or finish and check one that is there; nothing is written before everything fits.

        Raises MilvusError for a collection of that name that does not fit, and for an alias that is not ours.
        """
        self.check_alias()
        if self.exists():
            self._settle_index(self._fitting_index())
            self._note_properties()
        else:
            shards = {"num_shards": self.contract.layout.shards} if self.contract.layout.shards else {}
            # Given its index here, the client would load it at once, with one replica.
            self._call(
                f"create {self.name}",
                self.connection.client.create_collection,
                self.name,
                schema=schema.schema(self.contract, self.space.dim),
                properties={
                    contracts.PROPERTY: contracts.to_json(self.contract, self.space),
                    contracts.BUILT: datetime.now(UTC).isoformat(timespec="milliseconds"),
                    **properties.of_layout(self.contract.layout),
                },
                timeout=CALL_TIMEOUT_S,
                **shards,
            )
            self._settle_index(None)
        self.load()

    def ready(self) -> bool:
        """Return whether the collection exists with its index, and change nothing; raises MilvusError as `prepare`."""
        self.check_alias()
        return self.exists() and (self._fitting_index() is not None or not self.is_indexed)

    def outdated(self) -> list[str]:
        """Return what `prepare` would bring up to date of a collection that is ready, in words."""
        found = []
        if not self.is_indexed and self.index() is not None:
            found.append(f"drop the index of {self.name}: Milvus Lite finds more by comparing with every row")
        if self._newer_contract():
            found.append(f"write the contract again that {self.name} carries for apps")
        return found

    @property
    def is_indexed(self) -> bool:
        """Whether the contract's index is built here: not in Milvus Lite, whose HNSW loses rows behind a filter.

        Lite (3.2.2) drops what does not match from the `ef` rows that it found. Without an index it compares the
        query with every row that matches, and what a search costs is its loops over all rows in any case.
        """
        return not self.connection.is_lite

    def exists(self) -> bool:
        """Tell whether the collection is there."""
        return bool(self._call("look for the collection", self.connection.client.has_collection, self.name))

    def load(self) -> None:
        """Bring the collection into memory where it is not."""
        load(self.connection, self.name, self.contract.layout.replicas)

    def rows(self) -> Iterator[list[dict[str, str]]]:
        """Yield all rows' product_id, row_digest and image_sha256, thousands at a time."""
        return pages.pages(self.connection, self.name, [PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256], "Strong")

    def vectors(self, product_ids: Sequence[str]) -> Iterator[tuple[bytes, NDArray[np.float32]]]:
        """Yield (picture's SHA-256, vector) of the products that are there."""
        field = self.contract.index.field
        for row in self.matching(product_ids, [IMAGE_SHA256, field]):
            yield bytes.fromhex(row[IMAGE_SHA256]), np.asarray(row[field], np.float32)

    def delete(self, product_ids: Sequence[str]) -> None:
        """Delete the rows of these products; those that are not there do not matter."""
        client = self.connection.client
        self._call(
            f"delete rows of {self.name}", client.delete, self.name, filter=pages.among(product_ids),
            timeout=WRITE_TIMEOUT_S, retry_on_rate_limit=False,
        )  # fmt: skip

    def count(self, consistency: str = "Strong") -> int:
        """Count the rows by `count(*)`; `num_entities` would count deleted ones until compaction."""
        client = self.connection.client
        answer = self._call(
            f"count the rows of {self.name}", client.query, self.name, filter="", output_fields=["count(*)"],
            consistency_level=consistency, timeout=CALL_TIMEOUT_S,
        )  # fmt: skip
        return int(answer[0]["count(*)"])

    def flush(self) -> None:
        """Have the server write what it acknowledged to its storage and index it."""
        self._call(f"flush {self.name}", self.connection.client.flush, self.name, timeout=CALL_TIMEOUT_S)

    def indexed(self, stop: threading.Event) -> None:
        """Wait until what was flushed is in the index, and seen by apps, which ask with bounded staleness.

        `stop`, or ten minutes without progress, ends the wait.
        """
        least, began = -1, time.monotonic()
        since = began
        while (now := self._pending()) and not stop.wait(_LOOK_EVERY_S):
            if least < 0 or now < least:  # a compaction may give rows back to be indexed again, more than once
                least, since = now, time.monotonic()
            elif time.monotonic() - since > _NO_PROGRESS_S:
                return
            if time.monotonic() - began > _SAID_AFTER_S:
                self.connection.say(
                    f"waiting for Milvus at {self.connection.shown} to index {now:,} rows of {self.name}"
                )
        ends = time.monotonic() + _STALE_S
        # Asked again each time: during a compaction count(*) may be too large (milvus-io/milvus #31484).
        while self.count("Bounded") < self.count() and time.monotonic() < ends and not stop.wait(_LOOK_EVERY_S):
            pass

    def _pending(self) -> int:
        description = self.index() or {}
        unfinished = str(description.get("state", "Finished")) != "Finished"
        return int(description.get("pending_index_rows", 0)) or int(unfinished)

    def served(self) -> str | None:
        """Return the collection the alias points to, or None."""
        return alias.alias_target(self.connection, self.contract.alias)

    def serve(self, instead_of: str | None) -> None:
        """Point the alias here, in one call; raises MilvusError where it serves neither `instead_of` nor this."""
        alias.switch(self.connection, self.contract.alias, self.name, instead_of)

    def check_not_taken(self) -> None:
        """Raise MilvusError where the alias, which served this collection, serves another by now.

        What a run that was killed when it had moved the alias had still to do is done.
        """
        alias.check_not_taken(self.connection, self.contract.alias, self.name, self.name)
        if contracts.SERVED not in properties.get(self.connection, self.name):
            alias.confirm(self.connection, self.contract.alias, self.name)

    def index(self) -> Any:
        """Describe the index over the vectors, or None where there is none."""
        return self._call(
            f"describe the index of {self.name}", self.connection.client.describe_index, self.name, self._field
        )

    def index_faults(self, description: Any) -> list[str]:
        """Return how an index differs from the contract's."""
        return schema.index_misfits(description, self.contract) if self.is_indexed else []

    def matching(self, product_ids: Sequence[str], fields: list[str]) -> list[dict[str, Any]]:
        """Return the rows of these products with these fields, those that are there."""
        return pages.rows(self.connection, self.name, product_ids, fields, "Strong")

    def digests(self, product_ids: Sequence[str]) -> dict[str, str]:
        """Return the row digests of these products, by id, of those that are there."""
        return {row[PRIMARY_KEY]: row[ROW_DIGEST] for row in self.matching(product_ids, [ROW_DIGEST])}

    def search(self, vectors: list[NDArray[np.float32]], limit: int, ef: int) -> list[Any]:
        """Return for each unit vector, (dim,) float32, its nearest rows as Milvus gives them, by id and score."""
        answer: list[Any] = self._call(
            f"search {self.name}", self.connection.client.search, self.name, data=vectors, anns_field=self._field,
            limit=limit, search_params={"metric_type": "IP", "params": {"ef": ef}},
            consistency_level="Strong", timeout=CALL_TIMEOUT_S,
        )  # fmt: skip
        return answer

    @property
    def _field(self) -> str:
        return self.contract.index.field

    def _settle_index(self, existing: Any) -> None:
        """Create an index that is missing, also after a kill; drop one that an older ingest built in Milvus Lite."""
        client = self.connection.client
        if self.is_indexed and existing is None:
            self._call(
                f"create the index of {self.name}", client.create_index, self.name,
                schema.index_params(self.contract), timeout=CALL_TIMEOUT_S,
            )  # fmt: skip
        elif existing is not None and not self.is_indexed:
            self._call(f"release {self.name}", client.release_collection, self.name)
            self._call(f"drop the index of {self.name}", client.drop_index, self.name, self._field)

    def carried(self) -> str:
        """Return the contract that the collection carries, as JSON; "" where it carries none."""
        return str(properties.get(self.connection, self.name).get(contracts.PROPERTY, ""))

    def _note_properties(self) -> None:
        """Bring what apps and the server read up to date; an ef that was measured on this collection stays."""
        newer = self._newer_contract()
        wanted = properties.of_layout(self.contract.layout) | ({contracts.PROPERTY: newer} if newer else {})
        properties.update(self.connection, self.name, wanted)

    def _newer_contract(self) -> str:
        """Return the contract that the collection should carry, as JSON; "" if it carries just that."""
        carried = self.carried()
        wanted = contracts.to_json(self.contract, self.space, search_ef.measured_ef(carried))
        return "" if carried == wanted else wanted

    def _fitting_index(self) -> Any:
        """Return the index, or None where there is none; raise MilvusError where it or the collection does not fit."""
        client = self.connection.client
        description = self._call("describe the collection", client.describe_collection, self.name)
        index = self.index()
        faults = schema.misfits(description, self.contract, self.space.dim)
        if faults := faults or self.index_faults(index):
            raise MilvusError(
                f"Milvus at {self.connection.shown}: collection {self.name} does not fit: {'; '.join(faults)}; "
                "drop or rename it, or change the alias in the contract"
            )
        return index

    def check_alias(self) -> None:
        """Raise MilvusError for an alias that is no alias, or serves what ingest did not build."""
        client, alias = self.connection.client, self.contract.alias
        target = self.served()
        if target is None:
            if alias in self._call("list the collections", client.list_collections):
                raise MilvusError(
                    f"Milvus at {self.connection.shown}: {alias} is a collection, not an alias; "
                    "rename it, or give the contract another alias"
                )
            return
        description = self._call("describe the collection", client.describe_collection, target)
        if contracts.PROPERTY not in description.get("properties", {}):
            raise MilvusError(
                f"Milvus at {self.connection.shown}: the alias {alias} serves {target}, which ingest did not build; "
                "drop the alias, or give the contract another"
            )

    def _call(self, doing: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        return self.connection.call(doing, function, *args, **kwargs)
