"""Searches the exported files: the FAISS index, and the `.npy` pair for products' own vectors."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.contract import PRIMARY_KEY
from ingest.core.errors import ExportError, ModelError, QueryError
from ingest.exports import faiss_index, npy_files
from ingest.exports.manifest import read_manifest
from ingest.search import fold
from ingest.search.backend import Hit

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from ingest.core.contract import Space
    from ingest.core.settings import Settings


class ExportedIndex:
    """The files that `ingest run` or `ingest export` wrote; hits have no metadata. `ef` is the contract's.

    Of products that share the value of the field `group`, if given, an answer names one. The Parquet file has it.
    """

    def __init__(self, settings: Settings, ef: int, group: str = "") -> None:
        self._parquet, self._group = settings.parquet_file, group
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
        taken = {self._key(self._hit(product_id, 0.0)) for product_id in without}
        # The files take no filter: what is to be left out is found as well, and dropped.
        wanted = limit + len(taken)
        hits = [[hit for hit in self._search(index, vector, wanted) if self._key(hit) not in taken]
                for vector in vectors]  # fmt: skip
        return [[Hit(hit.product_id, hit.score, {}) for hit in one[:limit]] for one in hits]

    def _search(self, index: faiss_index.FaissIndex, vector: NDArray[np.float32], limit: int) -> list[Hit]:
        """Return the best hits of so many products or items."""

        def ask(count: int, _: Sequence[fold.Key] = ()) -> list[Hit]:
            found = index.search(vector, count, max(self.ef, count))
            return [self._hit(product_id, score) for product_id, score in found]

        asked = min(fold.first_count(limit) if self._group else limit, index.size)
        return fold.fold(ask(asked), asked, limit, index.size, self._group, ask)

    def _key(self, hit: Hit) -> fold.Key:
        return fold.key_of(hit, self._group)

    def _hit(self, product_id: str, score: float) -> Hit:
        return Hit(product_id, score, {self._group: self._groups.get(product_id)} if self._group else {})

    @cached_property
    def _groups(self) -> dict[str, str | None]:
        """The items of the products, from the Parquet file; raises ExportError if there is none."""
        from pyarrow import lib, parquet

        try:
            table = parquet.read_table(self._parquet, columns=[PRIMARY_KEY, self._group])
        except (OSError, lib.ArrowException, ValueError) as error:
            raise ExportError(
                f"{self._parquet}: cannot be read, and answers are grouped by its field {self._group}; write it with: "
                "ingest export --parquet"
            ) from error
        return dict(zip(table[PRIMARY_KEY].to_pylist(), table[self._group].to_pylist(), strict=True))

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
