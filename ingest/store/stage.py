"""The store's pipeline stages: stored vectors bypass the model, and new ones are on disk before they go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core.records import Embedded, ImageFile
from ingest.runtime.parallel import batched_within
from ingest.store.shard_writer import is_new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ingest.core.records import Skipped
    from ingest.store.base import FindsVectors
    from ingest.store.shard_writer import ShardWriter

_LOOKED_UP, _LOOKED_UP_S = 256, 0.05  # images looked up together, and how long the first of them may wait


def lookup(
    records: Iterable[ImageFile | Skipped],
    store: FindsVectors,
    open_trash: Callable[[], FindsVectors] | None = None,
) -> Iterator[ImageFile | Embedded | Skipped]:
    """Turn each image whose vector is stored into an `Embedded`, in order; images are looked up in batches.

    A vector that is only in the trash counts as new, so that `append` writes it into the store again.
    """
    for group in batched_within(records, _LOOKED_UP, _LOOKED_UP_S):
        keys = [record.sha256 for record in group if isinstance(record, ImageFile)]
        found = dict(zip(keys, store.find(keys), strict=True))
        missing = [key for key, vector in found.items() if vector is None]
        dropped = dict(zip(missing, open_trash().find(missing), strict=True)) if missing and open_trash else {}
        for record in group:
            vector = None
            if isinstance(record, ImageFile):
                vector, stored = found[record.sha256], True
                if vector is None:
                    vector, stored = dropped.get(record.sha256), False
            if isinstance(record, ImageFile) and vector is not None:
                yield Embedded(record.product, record.sha256, vector, stored=stored)
            else:
                yield record


def append(records: Iterable[Embedded | Skipped], writer: ShardWriter) -> Iterator[Embedded | Skipped]:
    """Write new vectors as shards, and yield no vector before it is on disk.

    What has come is written also if the consumer stops or the source fails, so that no vector is computed twice.
    """
    with writer:
        for record in records:
            yield from writer.take()
            if writer.is_empty and not is_new(record):
                yield record
            else:
                writer.put(record)
                yield from writer.take()
        yield from writer.take_rest()
