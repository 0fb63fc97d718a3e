"""Searches the exported files: the FAISS index, and the `.npy` pair for products' own vectors."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.errors import ModelError, QueryError
from ingest.exports import faiss_index, npy_files
from ingest.exports.manifest import read_manifest
from ingest.search.backend import Hit

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from ingest.core.contract import Space
    from ingest.core.settings import Settings


class ExportedIndex:
    """The files that `ingest run` or `ingest export` wrote; hits have no metadata. `ef` is the contract's."""

    def __init__(self, settings: Settings, ef: int) -> None:
        self._folder = settings.indexes
        self._npy, self._ids = settings.npy, settings.npy_ids
        self.ef = ef

    def check(self, space: Space) -> None:
        """Raise ModelError if `space` is not that of the index: scores across spaces mean nothing."""
        self._check(space.dim, space.fingerprint)

    def vectors(self, product_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the products' unit vectors by id; raises ExportError without files, QueryError without a product."""
        rows, numbers = self._pair
        missing = next((name for name in product_ids if name not in numbers), None)
        if missing is not None:
            raise QueryError(f"no product {missing} in {self._ids}; add it to the catalog and run: ingest run")
        manifest = read_manifest(self._npy)
        if manifest is not None:
            self._check(int(rows.shape[1]), manifest.fingerprint)
        return {name: np.array(rows[numbers[name]]) for name in product_ids}

    def searches(
        self,
        vectors: Sequence[NDArray[np.float32]],
        limit: int,
        expression: str = "",
        without: Collection[str] = (),
    ) -> list[list[Hit]]:
        """Return the `limit` products nearest to each unit vector, (dim,) float32, best first, except `without`.

        Raises ExportError if the files are missing or do not fit together, QueryError for a filter.
        """
        if expression:
            raise QueryError(f"the filter {expression!r}: the FAISS files have no metadata; leave out --backend faiss")
        if not len(vectors):
            return []
        index = faiss_index.open_index(self._folder, len(vectors[0]))
        count = limit + len(without)
        found = [index.search(vector, count, max(self.ef, count)) for vector in vectors]
        hits = [[Hit(product_id, score, {}) for product_id, score in one if product_id not in without] for one in found]
        return [one[:limit] for one in hits]

    def _check(self, dim: int, fingerprint: str) -> None:
        manifest = read_manifest(faiss_index.IndexFiles.of(self._folder, dim).index)
        if fingerprint and manifest and manifest.fingerprint and manifest.fingerprint != fingerprint:
            raise ModelError(
                f"{self._folder}: its index was built with another model; pass that one with --model, or build it "
                "again with: ingest export"
            )

    @cached_property
    def _pair(self) -> tuple[NDArray[np.float32], dict[str, int]]:
        rows, names = npy_files.read(self._npy, self._ids)
        return rows, {name: number for number, name in enumerate(names)}
