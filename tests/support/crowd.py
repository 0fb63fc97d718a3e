"""A collection in which many products are equal or nearly so, as placeholders are, and some others are not."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.contract import Space
from ingest.core.records import Embedded, Product
from ingest.core.settings import MilvusSettings
from ingest.milvus import writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.core.contract import Contract

DIM, OTHERS = 32, 600
SPREADS = {"equal": 0.0, "rounded as float32": 1e-6, "rounded as bfloat16": 1e-2}
"""How far the vectors of a crowd lie from their middle: at 1e-2 their cosines are 0.9998."""


@contextmanager
def crowded(
    uri: str, contract: Contract, folder: Path, size: int, spread: float
) -> Iterator[tuple[Collection, LocalStore]]:
    """Give a collection with a crowd of `size` among OTHERS, flushed and indexed, and the store of its vectors."""
    generator = np.random.default_rng(size)
    middle = _unit(generator.normal(size=(1, DIM)))
    crowd = middle + spread * _unit(generator.normal(size=(size, DIM)))
    rows = _unit(np.concatenate([crowd, generator.normal(size=(OTHERS, DIM))])).astype(np.float32)
    order = generator.permutation(len(rows)).tolist()
    records = [_record(number, rows[number], contract) for number in order]
    store = LocalStore(folder / "store", DIM)
    store.add([record.sha256 for record in records], rows[order])
    with connect(MilvusSettings(uri, max_wait=30)) as connection:
        collection = Collection(connection, contract, Space("crowd", f"{size} {spread}", DIM, {}))
        collection.prepare()
        assert sum(1 for _ in writer.upsert(iter(records), collection)) == len(records)
        collection.flush()
        collection.wait_for_index(Event())
        yield collection, store


def members(size: int) -> list[str]:
    """Return ids to prove: some of the crowd's, at most 300, and some others'."""
    return [_name(number) for number in [*range(min(size, 300)), *range(size, size + 20)]]


def _record(number: int, vector: NDArray[np.float32], contract: Contract) -> Embedded:
    metadata = {field.name: 0.0 if field.type == "DOUBLE" else "" for field in contract.fields}
    return Embedded(Product(_name(number), "", metadata, number), number.to_bytes(32), vector)


def _name(number: int) -> str:
    return f"P{number:05d}"


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
