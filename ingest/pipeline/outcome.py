"""How a command that uses the pipeline ends: its summary, its report, and its failure if there is one."""

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
from ingest.pipeline.skipped import describe_too_many, describe_unusable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.core.records import ImageFile
    from ingest.pipeline.pipeline import Pipeline
    from ingest.pipeline.report import Summary

_OUTCOMES = {NotLiveError: "not live", PruneRefusedError: "prune refused", TooManySkippedError: "too many skipped"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did.

    `places` says where the results are, by name. `example` is the first product with an image, to try a search with;
    None if no search would find it. `notes` are for the user. `failure` is raised after all this is shown; None if
    everything is well.
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
    """Complete the summary, write the report, and return the outcome.

    `faults` say why the results are not live, and `refused` why no rows were deleted. If the latter is the worst that
    happened, PruneRefusedError is raised.
    """
    pipeline.cache.flush()
    notes = [*notes, *pipeline.cache.notes()]
    complete(pipeline, summary)
    places = places | {"report": pipeline.report.file, "changes": pipeline.report.changes_table}
    if summary.skipped:
        places["skipped"] = pipeline.report.skipped_table
    failures: list[IngestError] = []
    if faults:
        failures.append(NotLiveError(f"not live: {'; '.join(filter(None, [*faults, _served(pipeline, summary)]))}"))
    if refused:
        kept = f"nothing was deleted, everything else is done: {refused}"
        failures.append(PruneRefusedError(f"{pipeline.settings.catalog}: {kept}"))
        notes = [*notes, *([kept] if faults else [])]
    if pipeline.too_many_skipped:
        failures.append(TooManySkippedError(
            describe_too_many(summary.skipped, summary.products, pipeline.settings.max_skipped, str(places["skipped"]))
        ))  # fmt: skip
    failure = foremost(failures)
    write_report(pipeline, summary, _OUTCOMES[type(failure)] if failure else "done", places, notes, failure)
    if isinstance(failure, PruneRefusedError):
        raise failure
    shown = {name: str(place) for name, place in places.items()}
    findable = (summary.upserted or summary.unchanged) and summary.served in (None, summary.collection) and not faults
    return Outcome(summary, shown, pipeline.example if findable else None, tuple(notes), failure)


def unusable(pipeline: Pipeline, usable: int) -> list[str]:
    """Return that no product could be used, and the most frequent reason, if none of the catalog's is `usable`."""
    reasons = {} if usable else pipeline.report.reasons
    return [describe_unusable(reasons, pipeline.progress.items(Stage.CATALOG))] if reasons else []


def raise_if_stopped(pipeline: Pipeline, summary: Summary) -> None:
    """If the user has interrupted the run, write the report and raise InterruptedRunError."""
    if pipeline.stop.is_set():
        complete(pipeline, summary)
        write_report(pipeline, summary, "interrupted")
        raise InterruptedRunError(
            f"interrupted: {summary.embedded} embedded and {summary.upserted} upserted are kept; "
            "run the same command again to go on"
        )


def complete(pipeline: Pipeline, summary: Summary) -> None:
    """Fill in what the pipeline has counted and measured."""
    progress = pipeline.progress
    summary.products = progress.items(Stage.CATALOG)
    summary.embedded = progress.items(Stage.EMBEDDING)
    pipeline.report.count_skipped(summary, pipeline.settings.catalog)
    summary.seconds = round(progress.seconds, 3)
    summary.stages = progress.by_stage()
    found = find_bottleneck(progress.clock.shares(), pipeline.settings, pipeline.device)
    if found and (summary.embedded or summary.upserted or summary.deleted):
        summary.bound_by, summary.hint = str(found), found.hint


def write_report(
    pipeline: Pipeline,
    summary: Summary,
    outcome: str,
    places: dict[str, Any] | None = None,
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
        "places": places or {},
        "alias": pipeline.contract.alias,
        "notes": list(notes),
        "failure": "" if failure is None else str(failure),
        "exit_code": 0 if failure is None else failure.exit_code,
    }
    pipeline.report.write(summary, facts, outcome)


def _served(pipeline: Pipeline, summary: Summary) -> str:
    """Say what apps find now; "" if the command did not connect to Milvus."""
    alias = pipeline.contract.alias
    if not summary.collection:
        return ""
    if summary.served is None:
        return f"{alias} serves nothing"
    if summary.served == summary.collection:
        return f"{alias} serves {summary.served}, with the rows it had"
    return f"{alias} still serves {summary.served}, not {summary.collection}"
