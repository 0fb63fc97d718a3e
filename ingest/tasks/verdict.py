"""What a verification found."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.core import notebook
from ingest.core.errors import VerificationError
from ingest.core.wording import quantity

if TYPE_CHECKING:
    from ingest.core.records import Mismatch

TOP = 10
"""Neighbours by which the FAISS files and the collection are compared."""
_SHOWN = 10


@dataclass(slots=True)
class Verdict:
    """What was verified: `rows` of `expected` are right, `sampled` vectors were compared.

    `overlap` is the share of the top 10 that FAISS and Milvus have in common, None if unknown. `compared` is how many
    rows' fields were compared; a sample of rows or vectors is drawn with `seed`. `pictures` is how many images were
    hashed again, None if that was not asked for; `embedded` how many were embedded again and gave the
    collection's vector, with at least this `cosine`. `reasons` counts the skipped products. `differing` is everything
    that is wrong; `notes` are for the user, about what is not wrong. Apps search with `ef`: the measured one if there
    is one, else the schema's. `previous` is the collection that the second alias points to, for rollback.
    """

    collection: str = ""
    products: int = 0
    rows: int = 0
    sampled: int = 0
    overlap: float | None = None
    expected: int = 0
    compared: int = 0
    seed: int = 0
    pictures: int | None = None
    reasons: dict[str, int] = field(default_factory=dict)
    differing: list[Mismatch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    ef: int | None = None
    ef_schema: int | None = None
    ef_measured: int | None = None
    embedded: int | None = None
    cosine: float | None = None
    previous: str | None = None

    @property
    def distrusted(self) -> list[str]:
        """The products whose rows are wrong although their digests are right."""
        return [found.name for found in self.differing if found.kind in ("vector", "search", "field", "embedding")]

    @property
    def misembedded(self) -> list[str]:
        """The products whose vectors are not their images': those of the store are wrong, too."""
        return [found.name for found in self.differing if found.kind == "embedding"]

    @property
    def has_wrong_files(self) -> bool:
        """Whether exported files must be written again, even if their sizes are right."""
        return any(found.kind in ("file", "search", "embedding") for found in self.differing)

    @property
    def proven(self) -> str:
        """What was compared and is right, in words."""
        wrong = sum(found.kind == "vector" for found in self.differing)
        fields = ", fields" if self.compared >= self.rows else f"; fields of {quantity(self.compared, 'row')}"
        said = [
            f"{self.rows:,} of {quantity(self.expected, 'row')}: ids, digests{fields}",
            f"{quantity(self.sampled - wrong, 'vector')} bit for bit",
        ]
        if self.pictures is not None:
            said.append(f"bytes of {quantity(self.pictures, 'image')}")
        if self.embedded is not None:
            least = f", cosine ≥ {math.floor(1e4 * self.cosine) / 1e4:.4f}" if self.cosine is not None else ""
            said.append(f"{quantity(self.embedded, 'image')} embedded again{least}")
        if self.overlap is not None:
            said.append(f"FAISS and Milvus share {self.overlap:.1%} of their top {TOP}")
        fewest = min(self.compared, self.sampled, self.rows if self.embedded is None else self.embedded)
        if fewest < self.rows:
            said.append(f"drawn with --seed {self.seed}")
        return "; ".join(said)

    def failure(self, *, repaired: bool) -> VerificationError | None:
        """Return the error that says how much differs, None if nothing does."""
        if not self.differing:
            return None
        advice = "a run cannot repair the rest" if repaired else "repair with: ingest verify --repair"
        return VerificationError(f"{self.collection}: {quantity(len(self.differing), 'difference')}; {advice}")

    def __repr__(self) -> str:
        """Say in a line what was compared and is right, and below the first of what is wrong."""
        wrong = [f"{found.kind} {found.name} {found.detail}" for found in self.differing[:_SHOWN]]
        wrong += [f"… and {len(self.differing) - _SHOWN} more in .differing"] if len(self.differing) > _SHOWN else []
        head = f"Verdict({self.collection}: {self._proven_in_python}; in {self.seconds:.1f} s)"
        return notebook.lines(head, [*wrong, *(f"note: {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        wrong = {f"{found.kind} {found.name}": found.detail for found in self.differing[:_SHOWN]}
        facts = {"right": self._proven_in_python.split("; "), "differences": len(self.differing), "the first": wrong}
        return notebook.facts(self.collection, {**facts, "notes": self.notes})

    @property
    def _proven_in_python(self) -> str:
        return self.proven.replace("--seed", "seed")
