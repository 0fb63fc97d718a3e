"""What can be searched: the collection behind the alias, or the exported files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.contract import Space
    from ingest.core.records import Scalar


@dataclass(frozen=True, slots=True)
class Hit:
    """A product that was found: `score` is the inner product of unit vectors, their cosine, at most 1.

    `image_sha256` is its image's, in hex. Hits from the FAISS files have neither that nor metadata.
    """

    product_id: str
    score: float
    metadata: Mapping[str, Scalar | None]
    image_sha256: str = ""


class SearchBackend(Protocol):
    """Where vectors are searched for."""

    def check(self, space: Space) -> None:
        """Raise ModelError if vectors of `space` mean nothing here."""

    def vectors(self, product_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the products' unit vectors by id; raises QueryError if one is missing."""

    def searches(
        self, vectors: Sequence[NDArray[np.float32]], limit: int, expression: str = "", without: Collection[str] = ()
    ) -> list[list[Hit]]:
        """Return for each unit vector, (dim,) float32, its hits, best first, except the ids in `without`."""
