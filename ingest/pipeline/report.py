"""What a run leaves behind: `data/runs/<time>/` with report.json, skipped.csv and changes.csv, and its summary."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

from ingest.core.errors import ConfigError, StorageError
from ingest.core.records import Reason, Skipped
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

SKIPPED_COLUMNS = ("product_id", "stage", "reason", "detail", "line", "file")
CHANGES_COLUMNS = ("product_id", "change")
NO_RUNS = frozenset({"planned", "verified", "differs"})
"""Outcomes in reports of what changed nothing: a plan, or a verification."""
_SHOWN = 120  # characters of an example
_URL = re.compile(r"(\w+://)(?:[^\s/@'\"]*@)?([^\s?#'\"]*)[^\s'\"]*")


@dataclass(slots=True)
class Summary:
    """What a run did. `seconds` is wall time; `stages` gives each stage's items, seconds, items a second, and `busy`,
    the share of the wall time that it worked in. `bound_by` names the busiest part of the run and `hint` what would
    relieve it; both are empty where nothing was to do.

    `reasons` counts the skipped by reason. `added` and `changed` (by what: picture, metadata, both) are what was
    upserted; `gone` is the rows in the collection that the catalog no longer names, `stale` those whose product
    failed now and that stay as they last were. Of both, `deleted` are no longer there. `examples` gives one skipped
    product for each reason. `collection` is the one that this run fills, and `served` the one that the alias serves
    at its end, None for none; both are empty where Milvus was not asked.
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
    added: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    bound_by: str = ""
    hint: str = ""
    examples: dict[str, str] = field(default_factory=dict)
    collection: str = ""
    served: str | None = None

    @property
    def pictures_per_second(self) -> float:
        """Pictures embedded a second, over the whole run."""
        return self.embedded / self.seconds if self.seconds else 0.0


class RunReport:
    """The folder of one run; skipped products are written as they come, so that memory does not grow with them."""

    def __init__(self, runs: Path) -> None:
        now = datetime.now(UTC)
        with storage_errors(runs):
            self.folder = _new_folder(runs, now)
            self._file = _table_file(self.folder / "skipped.csv")
            self._changes_file = _table_file(self.changes)
            self._table = csv.writer(self._file)
            self._table.writerow(SKIPPED_COLUMNS)
            self._changes = csv.writer(self._changes_file)
            self._changes.writerow(CHANGES_COLUMNS)
        self.started = now.isoformat(timespec="seconds")
        self.reasons: Counter[str] = Counter()
        self.examples: dict[str, Skipped] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with storage_errors(self.folder), closing(self._file), closing(self._changes_file):
            pass

    @property
    def changes(self) -> Path:
        """The table of what was, or would be, done to which product."""
        return self.folder / "changes.csv"

    def shown_examples(self, catalog: Path | str) -> dict[str, str]:
        """Return one skipped product for each reason, the most frequent first, as `example` shows it."""
        name = Path(str(catalog)).name
        return {reason: example(self.examples[reason], name) for reason, _ in self.reasons.most_common()}

    @property
    def skipped(self) -> int:
        """How many products were skipped so far."""
        return self.reasons.total()

    def keeping_skipped(self, records: Iterable[Any]) -> Iterator[Any]:
        """Write down each `Skipped` and pass the others on."""
        for record in records:
            if isinstance(record, Skipped):
                self.reasons[record.reason.value] += 1
                self.examples.setdefault(record.reason.value, record)
                with storage_errors(self.folder):
                    row = record.product_id, record.stage, record.reason, record.detail, record.line, record.file
                    self._table.writerow(row)
            else:
                yield record

    def note(self, product_id: str, change: str) -> None:
        """Write down what was, or would be, done to a product."""
        with storage_errors(self.folder):
            self._changes.writerow((product_id, change))

    def noted(self) -> Iterator[str]:
        """Yield the ids of the products written down so far."""
        with storage_errors(self.folder):
            self._changes_file.flush()
        with self.changes.open(encoding="utf-8", newline="") as file:
            yield from (row["product_id"] for row in csv.DictReader(file))

    def write(self, summary: Any, facts: dict[str, Any], outcome: str) -> None:
        """Write report.json: the summary (a dataclass), how the run ended, and the facts it ran under, no secrets."""
        content = {"started": self.started, "outcome": outcome, **asdict(summary), **facts}
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
        with storage_errors(self.folder):
            self._file.flush()
            self._changes_file.flush()
            (self.folder / "report.json").write_text(f"{text}\n", encoding="utf-8", errors="backslashreplace")


def example(skipped: Skipped, catalog: str) -> str:
    """Return where a skipped product stands and why it is skipped, for one line: bounded, printable, no secrets.

    Of a URL nothing is shown but `scheme://host/path`; the file only if the catalog, whose name is given, has others.
    """
    place = f"line {skipped.line}" if skipped.file in ("", catalog) else f"{skipped.file} line {skipped.line}"
    text = _URL.sub(r"\1\2", f"{place}: {' '.join(skipped.detail.split())}")
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def unusable(reasons: Mapping[str, int], products: int) -> str:
    """Say that none of so many products came through, why most did not, and what to do about it."""
    reason, count = max(reasons.items(), key=lambda item: item[1])
    which = f"all {reason}" if count == products else f"{count:,} {reason}"
    whole = "the only product" if products == 1 else f"none of the {products:,} products"
    return f"{whole} could {'not ' * (products == 1)}be used ({which}); {Reason(reason).remedy}"


def latest_runs(runs: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folders of the runs that ended, with their reports, the newest first; plans and proofs are none."""
    for folder in sorted(runs.iterdir(), reverse=True) if runs.is_dir() else ():
        try:
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # under way, or half deleted
        if isinstance(report, dict) and report.get("outcome") not in NO_RUNS:
            yield folder, report


def too_many(skipped: int, products: int, allowed: str) -> bool:
    """Tell whether more were skipped than `allowed`: "" for any number, "50", or "5%" of the products.

    Raises ConfigError for anything else.
    """
    if not allowed:
        return False
    number = allowed.removesuffix("%").strip()
    try:
        limit = float(number)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise ConfigError(f"--max-skipped {allowed}: a number of products such as 50, or a share such as 5%")
    return skipped > (limit / 100 * products if allowed.endswith("%") else limit)


def _table_file(path: Path) -> TextIO:
    # A lone surrogate, which JSON can carry and UTF-8 cannot, is a reason to be skipped: it must be writable.
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


def _new_folder(runs: Path, now: datetime) -> Path:
    """Make a folder named by the time; two runs in one second get a number behind it."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    for number in range(1, 1000):
        folder = runs / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise StorageError(f"{runs}: a thousand runs in one second; remove old folders there")
