"""The folder of a run, `data/runs/<time>/`, written and read: report.json, skipped.csv and changes.csv."""

from __future__ import annotations

import csv
import json
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TextIO

from ingest.core import escape
from ingest.core.errors import StorageError
from ingest.core.records import Skipped
from ingest.core.redaction import redact_text
from ingest.pipeline.skipped import example
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

REPORT, SKIPPED, CHANGES = "report.json", "skipped.csv", "changes.csv"
SKIPPED_COLUMNS = ("product_id", "stage", "reason", "detail", "line", "file")
CHANGES_COLUMNS = ("product_id", "change")
_NOT_RUNS = frozenset({"planned", "verified", "differs"})
"""Outcomes that earlier versions reported for plans and verifications, which change nothing."""


class SkippedCounts(Protocol):
    """What `RunReport.count_skipped` fills in: a summary or a plan."""

    skipped: int
    reasons: dict[str, int]
    examples: dict[str, str]


@dataclass(slots=True)
class Summary:
    """What a run did.

    `seconds` is wall time. `stages` gives the items, seconds and items per second of each stage, and `busy`, the share
    of the wall time in which it worked. `bound_by` names the busiest part of the run and `hint` says how to make it
    faster; both are empty if the run did nothing.

    `reasons` counts the skipped products by reason, and `examples` has one product for each. Of the rows upserted,
    `added` are new, and `changed` counts the others by what changed: `picture`, `metadata`, `both`. Rows that are
    `gone` are not in the catalog; `stale` ones belong to products that fail now, and stay as they were; `deleted`
    counts those of both that were deleted, and `carried` those that were carried over from the collection that the
    alias served before. `collection` is filled by this run, and `served` is what the alias serves at its end, None for
    nothing; both are empty if the run did not connect to Milvus.
    """

    products: int = 0
    embedded: int = 0
    upserted: int = 0
    deleted: int = 0
    unchanged: int = 0
    skipped: int = 0
    seconds: float = 0.0
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    gone: int = 0
    stale: int = 0
    carried: int = 0
    added: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    bound_by: str = ""
    hint: str = ""
    examples: dict[str, str] = field(default_factory=dict)
    collection: str = ""
    served: str | None = None

    @property
    def pictures_per_second(self) -> float:
        """Images embedded per second, over the whole run."""
        return self.embedded / self.seconds if self.seconds else 0.0


class RunReport:
    """Writes the folder of one run.

    Skipped products and changes are written as they come, so that memory does not grow with them.
    """

    def __init__(self, runs: Path) -> None:
        now = datetime.now(UTC)
        with storage_errors(runs):
            self.folder = _new_folder(runs, now)
            self._skipped_file = _open_table(self.skipped_table)
            self._changes_file = _open_table(self.changes_table)
            self._skipped_writer = csv.writer(self._skipped_file)
            self._skipped_writer.writerow(SKIPPED_COLUMNS)
            self._changes_writer = csv.writer(self._changes_file)
            self._changes_writer.writerow(CHANGES_COLUMNS)
        self.started = now.isoformat(timespec="seconds")
        self.reasons: Counter[str] = Counter()
        self._examples: dict[str, Skipped] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with storage_errors(self.folder), closing(self._skipped_file), closing(self._changes_file):
            pass

    @property
    def file(self) -> Path:
        """The report, which `write` writes."""
        return self.folder / REPORT

    @property
    def skipped_table(self) -> Path:
        """The table of skipped products."""
        return self.folder / SKIPPED

    @property
    def changes_table(self) -> Path:
        """The table of what was, or would be, done to which product."""
        return self.folder / CHANGES

    @property
    def skipped(self) -> int:
        """How many products were skipped so far."""
        return self.reasons.total()

    def count_skipped(self, into: SkippedCounts, catalog: Path | str) -> None:
        """Fill in how many products were skipped, by reason, the most frequent first, and one example of each."""
        name, reasons = Path(str(catalog)).name, self.reasons.most_common()
        into.skipped, into.reasons = self.skipped, dict(reasons)
        into.examples = {reason: example(self._examples[reason], name) for reason, _ in reasons}

    def keep_skipped(self, records: Iterable[Any]) -> Iterator[Any]:
        """Write each `Skipped` to skipped.csv, and yield the other records."""
        for record in records:
            if isinstance(record, Skipped):
                self.reasons[record.reason.value] += 1
                self._examples.setdefault(record.reason.value, record)
                detail = redact_text(record.detail)  # also of a cell that it quotes
                cells = record.stage, record.reason, detail, record.line, record.file
                with storage_errors(self.folder):
                    self._skipped_writer.writerow((escape.csv_id(record.product_id), *map(escape.csv_cell, cells)))
            else:
                yield record

    def add_change(self, product_id: str, change: str) -> None:
        """Write to changes.csv what was, or would be, done to a product."""
        with storage_errors(self.folder):
            self._changes_writer.writerow((escape.csv_id(product_id), escape.csv_cell(change)))

    def changed_ids(self) -> Iterator[str]:
        """Yield the product ids in changes.csv so far."""
        with storage_errors(self.folder):
            self._changes_file.flush()
        with self.changes_table.open(encoding="utf-8", newline="") as file:
            yield from (row["product_id"] for row in csv.DictReader(file))

    def write(self, summary: Summary, facts: dict[str, Any], outcome: str) -> None:
        """Write report.json: the summary, how the run ended, and `facts` about what it ran with (no secrets)."""
        content = {"started": self.started, "outcome": outcome, **asdict(summary), **facts}
        text = escape.json_text(content, 2, default=str)
        with storage_errors(self.folder):
            self._skipped_file.flush()
            self._changes_file.flush()
            self.file.write_text(f"{text}\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run, read from its folder; what an older version did not write is empty.

    `collection` is what the run filled, "" for none, and `served` what the alias served at its end; `failure` says why
    the collection is not live, or what else went wrong. `reasons` counts the skipped products.
    """

    folder: Path
    started: str
    outcome: str
    alias: str
    collection: str
    served: str | None
    failure: str
    model: str
    fingerprint: str
    reasons: dict[str, int]

    def read_skipped(self, most: int) -> list[dict[str, str | None]] | None:
        """Return the first rows of skipped.csv, None if it cannot be read; a cell that is missing in a row is None."""
        try:
            with (self.folder / SKIPPED).open(encoding="utf-8", newline="") as file:
                return list(islice(csv.DictReader(file), most))
        except (OSError, ValueError, csv.Error):
            return None


def finished_runs(runs: Path) -> Iterator[FinishedRun]:
    """Yield the finished runs below a folder, the newest first."""
    for folder in sorted(runs.iterdir(), reverse=True) if runs.is_dir() else ():
        run = _read(folder)
        if run is not None and run.outcome not in _NOT_RUNS:
            yield run


def _read(folder: Path) -> FinishedRun | None:
    """Read a run's report; None if it has none (the run is under way) or it is damaged."""
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        texts = ("alias", "collection", "failure", "model", "fingerprint")
        return FinishedRun(
            folder, str(report["started"]), str(report["outcome"]), served=report.get("served"),
            reasons=dict(report.get("reasons", {})), **{name: str(report.get(name, "")) for name in texts},
        )  # fmt: skip
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _open_table(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="")


def _new_folder(runs: Path, now: datetime) -> Path:
    """Make a folder named by the time; a number is added if it exists already."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    for number in range(1, 1000):
        folder = runs / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise StorageError(f"{runs}: it has a thousand folders of this second; remove old ones")
