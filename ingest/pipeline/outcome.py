"""How a command with the line ends: its summary, its report, and what it failed in, if anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ingest.core.errors import (
    IngestError,
    InterruptedRunError,
    NotLiveError,
    PruneRefusedError,
    TooManySkippedError,
    foremost,
)
from ingest.core.records import Stage
from ingest.images.cache import statistics
from ingest.pipeline.bottleneck import find_bottleneck

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.core.records import ImageFile
    from ingest.pipeline.pipeline import Pipeline
    from ingest.pipeline.report import Summary

_OUTCOMES = {NotLiveError: "not live", PruneRefusedError: "prune refused", TooManySkippedError: "too many skipped"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did, and `places`, where what it made lies, by name.

    `example` is the first product with a picture, to try a search with, None if no search would find it; `notes` is
    what a user should know; `failure` is what the command ends with, after it has shown all this, None if all is well.
    """

    summary: Summary
    places: dict[str, str]
    example: ImageFile | None
    notes: tuple[str, ...]
    failure: IngestError | None = None


def finish(
    pipeline: Pipeline,
    summary: Summary,
    places: dict[str, Any],
    notes: Sequence[str] = (),
    faults: Sequence[str] = (),
    refused: str = "",
) -> Outcome:
    """Complete the summary, write the report, and return how it ended.

    `faults` says why what was made is not live, and `refused` why nothing was deleted; both are empty if all is well.
    Raises PruneRefusedError for the latter alone.
    """
    pipeline.cache.flush()
    complete(pipeline, summary)
    places = places | {"report": pipeline.report.folder / "report.json", "changes": pipeline.report.changes}
    if summary.skipped:
        places["skipped"] = pipeline.report.folder / "skipped.csv"
    failures: list[IngestError] = []
    if faults:
        failures.append(
            NotLiveError(f"not live: {'; '.join([*faults, _what_is_served(pipeline, summary)])}".rstrip("; "))
        )
    if refused:
        kept = f"nothing was deleted, all else is done: {refused}"
        failures.append(PruneRefusedError(f"{pipeline.settings.catalog}: {kept}"))
        notes = [*notes, *([kept] if faults else [])]
    if pipeline.too_many_skipped:
        failures.append(
            TooManySkippedError(
                f"{summary.skipped} of {summary.products} products were skipped, more than --max-skipped "
                f"{pipeline.settings.max_skipped} allows; the reasons are in {places['skipped']}"
            )
        )
    failure = foremost(failures)
    ended = _OUTCOMES[type(failure)] if failure is not None else "done"
    report(pipeline, summary, ended, places, notes, failure)
    if isinstance(failure, PruneRefusedError):
        raise failure
    shown = {name: str(place) for name, place in places.items()}
    findable = (summary.upserted or summary.unchanged) and summary.served in (None, summary.collection) and not faults
    return Outcome(summary, shown, pipeline.example if findable else None, tuple(notes), failure)


def raise_if_stopped(pipeline: Pipeline, summary: Summary) -> None:
    """Write the report and raise InterruptedRunError, if the user has asked to stop."""
    if pipeline.stop.is_set():
        complete(pipeline, summary)
        report(pipeline, summary, "interrupted", {})
        raise InterruptedRunError(
            f"interrupted: {summary.embedded} embedded and {summary.upserted} upserted are kept; "
            "run the same command again to go on"
        )


def complete(pipeline: Pipeline, summary: Summary) -> None:
    """Fill in what the line has counted."""
    progress = pipeline.progress
    summary.products = progress.items(Stage.CATALOG)
    summary.embedded = progress.items(Stage.EMBEDDING)
    summary.skipped = pipeline.report.skipped
    summary.reasons = dict(pipeline.report.reasons.most_common())
    summary.examples = pipeline.report.shown_examples(pipeline.settings.catalog)
    summary.seconds = round(progress.seconds, 3)
    summary.stages = progress.told()
    found = find_bottleneck(progress.clock.shares(), pipeline.settings, pipeline.device)
    if found and (summary.embedded or summary.upserted or summary.deleted):
        summary.bound_by, summary.hint = str(found), found.hint


def report(
    pipeline: Pipeline,
    summary: Summary,
    ended: str,
    places: dict[str, Any],
    notes: Sequence[str] = (),
    failure: IngestError | None = None,
) -> None:
    """Write report.json."""
    space = pipeline.space
    facts = {
        "catalog": pipeline.settings.catalog,
        "model": space.model,
        "revision": space.revision,
        "fingerprint": space.fingerprint,
        "dim": space.dim,
        "pictures": asdict(statistics.quality(pipeline.cache.index)),
        "places": places,
        "alias": pipeline.contract.alias,
        "notes": list(notes),
        "failure": "" if failure is None else str(failure),
        "exit_code": 0 if failure is None else failure.exit_code,
    }
    pipeline.report.write(summary, facts, ended)


def _what_is_served(pipeline: Pipeline, summary: Summary) -> str:
    """Say what apps find now; "" where Milvus was not asked."""
    alias = pipeline.contract.alias
    if not summary.collection:
        return ""
    if summary.served is None:
        return f"{alias} serves nothing"
    if summary.served == summary.collection:
        return f"{alias} serves {summary.served}, with the rows it had"
    return f"{alias} still serves {summary.served}, not {summary.collection}"
