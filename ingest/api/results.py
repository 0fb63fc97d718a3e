"""What `run`, `embed` and `export` return: the same names and values as `--json` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ingest.core import notebook
from ingest.core.wording import quantity

if TYPE_CHECKING:
    from ingest.pipeline.outcome import Outcome


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did.

    `products` of the catalog were read; `embedded` images were given to the model; of the rows `upserted`, `added` are
    new, and `changed` counts the others by what changed. `unchanged` rows were right already. `skipped` products are
    counted by `reasons`, with one of each in `examples`. Rows that are `gone` from the catalog and `stale` rows of
    products that fail now stay, unless they are among those `deleted`; `carried` ones were taken over from the
    collection that was served before. `collection` is what was filled and `served` what apps find at the end, None for
    nothing; without Milvus they are "" and None.

    `seconds` is wall time, `stages` has each stage's items, seconds, items per second and the share of the time in
    which it was `busy`; `bound_by` names the busiest part, `hint` says how to make it faster. `places` says where the
    results are. `notes` are for whoever reads the log. `failure` is the message of the error that carries this as its
    `result`, "" if all is well.
    """

    products: int
    embedded: int
    upserted: int
    deleted: int
    unchanged: int
    skipped: int
    seconds: float
    stages: dict[str, dict[str, float]]
    reasons: dict[str, int]
    gone: int
    stale: int
    carried: int
    added: int
    changed: dict[str, int]
    bound_by: str
    hint: str
    examples: dict[str, str]
    collection: str
    served: str | None
    pictures_per_second: float
    places: dict[str, str]
    notes: list[str]
    failure: str

    @classmethod
    def of(cls, outcome: Outcome) -> RunSummary:
        """Return the summary of a task's outcome."""
        return cls(
            **asdict(outcome.summary),
            pictures_per_second=round(outcome.summary.pictures_per_second, 1),
            places=dict(outcome.places),
            notes=list(outcome.notes),
            failure=str(outcome.failure or ""),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what the command prints with `--json`."""
        return asdict(self)

    def __repr__(self) -> str:
        """Say in a line what was done, and below why products were skipped and what went wrong."""
        done = (
            f"{quantity(self.products, 'product')}: {self.embedded:,} embedded, {self.skipped:,} skipped, "
            f"{self.upserted:,} upserted, {self.unchanged:,} unchanged in {self.seconds:.1f} s"
        )
        more = [f"{count:,} skipped: {reason}" for reason, count in self.reasons.items()]
        more += [f"note: {note}" for note in self.notes]
        more += [f"failure: {self.failure}"] if self.failure else []
        return notebook.lines(f"RunSummary({done})", more)

    def _repr_html_(self) -> str:
        counts = ("embedded", "upserted", "unchanged", "deleted", "gone", "stale", "carried", "skipped", "reasons")
        rest = ("bound_by", "hint", "served", "places", "notes", "failure")
        values = {name.replace("_", " "): getattr(self, name) for name in (*counts, *rest)}
        return notebook.facts(f"{quantity(self.products, 'product')} in {self.seconds:.1f} s", values)
