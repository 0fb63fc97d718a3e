"""`ingest.run`, `plan`, `fetch`, `embed`, `export` and `verify`: the commands of the same names, for Python.

Keywords are the commands' flags. `progress` is True for bars, or a function that gets a `ProgressEvent` now and then,
in the thread of the call. `stop`, a threading.Event, ends the work early: what is in flight is written, and
InterruptedRunError is raised.

Each raises the error that its command would exit with; its `result` is what the function would have returned, if there
is anything. Each may be called from any thread, and several at once, but one at a time on a data folder.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from ingest.api import keywords as kinds
from ingest.api.call import call, reword, reword_errors
from ingest.api.keyword_settings import Keywords, settings_of, shows
from ingest.api.keyword_wording import in_python
from ingest.api.results import RunSummary
from ingest.core.errors import ConfigError, TooManySkippedError
from ingest.core.idle_settings import idle_settings

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from ingest.api.progress_events import ShowProgress
    from ingest.core.errors import IngestError
    from ingest.pipeline.outcome import Outcome
    from ingest.tasks.fetch import FetchResult
    from ingest.tasks.plan import Plan
    from ingest.tasks.verdict import Verdict

T = TypeVar("T")

_VECTORS = 1000  # compared by a verification, as by the command's

RUN = Keywords("run", kinds.RunKeywords, "catalog")
PLAN = Keywords("plan", kinds.PlanKeywords, "catalog")
FETCH = Keywords("fetch", kinds.FetchKeywords, "catalog")
EMBED = Keywords("embed", kinds.EmbedKeywords, "catalog")
EXPORT = Keywords("export", kinds.ExportKeywords, "catalog")
VERIFY = Keywords(
    "verify", kinds.VerifyKeywords, "catalog", sample=_VECTORS, pictures=False, embed=0, seed=None, repair=False
)


@shows(RUN)
def run(
    catalog: kinds.Place | None = None,
    *,
    progress: ShowProgress = False,
    stop: threading.Event | None = None,
    **keywords: Unpack[kinds.RunKeywords],
) -> RunSummary:
    """Update the Milvus collection from the catalog, and the exported files.

    Each image is embedded once; only new and changed products cause work. After an interruption, call it again.

    Raises NotLiveError if apps do not find the result, TooManySkippedError, PruneRefusedError, and every other error
    of `ingest`; all of them are an IngestError.
    """
    values = _read(RUN, catalog, keywords)
    settings = settings_of(values)
    for why, names in idle_settings(settings):
        if name := next((name for name in names if name in keywords), None):
            raise ConfigError(in_python(f"--{name.replace('_', '-')} {why.rstrip('.')}"))
    from ingest.tasks import run as task

    return _summary(call(partial(task.run, settings), progress, stop, values.get("profile")))


@shows(PLAN)
def plan(
    catalog: kinds.Place | None = None,
    *,
    progress: ShowProgress = False,
    stop: threading.Event | None = None,
    **keywords: Unpack[kinds.PlanKeywords],
) -> Plan:
    """Find what `run` would do. Nothing is downloaded, embedded or written.

    Raises NotLiveError or TooManySkippedError if `run` would; the error's `result` is the plan.
    """
    settings = settings_of(_read(PLAN, catalog, keywords))
    from ingest.tasks import plan as task

    found = call(partial(task.plan, settings), progress, stop)
    failure = task.failure(found, settings.max_skipped)
    for name in ("unserved", "exports_refused", "refused", "unwritten"):
        setattr(found, name, in_python(getattr(found, name)))
    for notes in (found.also, found.catalog_changes):
        notes[:] = map(in_python, notes)
    found.examples = _in_python(found.examples)
    return _checked(found, failure)


@shows(FETCH)
def fetch(
    catalog: kinds.Place | None = None,
    *,
    progress: ShowProgress = False,
    stop: threading.Event | None = None,
    **keywords: Unpack[kinds.FetchKeywords],
) -> FetchResult:
    """Download the catalog's images that are missing, and do nothing else.

    Raises TooManySkippedError if more products were skipped than `max_skipped` allows.
    """
    values = _read(FETCH, catalog, keywords)
    from ingest.tasks import fetch as task

    found = call(partial(task.fetch, settings_of(values)), progress, stop, values.get("profile"))
    failure = TooManySkippedError(found.failure) if found.failure else None
    notes, examples = tuple(map(in_python, found.notes)), _in_python(found.examples)
    return _checked(replace(found, notes=notes, examples=examples, failure=in_python(found.failure)), failure)


@shows(EMBED)
def embed(
    catalog: kinds.Place | None = None,
    *,
    progress: ShowProgress = False,
    stop: threading.Event | None = None,
    **keywords: Unpack[kinds.EmbedKeywords],
) -> RunSummary:
    """Embed the catalog into files, without Milvus.

    `output` gets the vectors, (n, dim) float32 with rows of unit length, and `meta` their product ids; by default they
    are in the data folder. Raises NotLiveError if the files would lose many products, and TooManySkippedError.
    """
    values = _read(EMBED, catalog, keywords)
    settings = settings_of(values)
    npy, ids = values.get("output") or settings.npy, values.get("meta") or settings.npy_ids
    from ingest.tasks import embed as task

    reword_errors(lambda: task.check_places(npy, ids))

    def work(progress: Any, stop: threading.Event) -> Outcome:
        return task.embed(settings, progress, stop, npy, ids)

    return _summary(call(work, progress, stop, values.get("profile")))


@shows(EXPORT)
def export(
    catalog: kinds.Place | None = None,
    *,
    progress: ShowProgress = False,
    stop: threading.Event | None = None,
    **keywords: Unpack[kinds.ExportKeywords],
) -> RunSummary:
    """Write the .npy and FAISS files from the stored vectors; nothing is downloaded or embedded.

    Raises NotLiveError if the files would lose many products, or if no product has a vector, and TooManySkippedError.
    """
    settings = settings_of(_read(EXPORT, catalog, keywords))
    from ingest.tasks import export as task

    return _summary(call(partial(task.export, settings), progress, stop))


@shows(VERIFY)
def verify(
    catalog: kinds.Place | None = None,
    *,
    progress: ShowProgress = False,
    stop: threading.Event | None = None,
    **keywords: Unpack[kinds.VerifyKeywords],
) -> Verdict:
    """Check the collection and the exported files against the catalog and the store.

    `sample` vectors are compared bit for bit, `embed` images embedded again, drawn with `seed`; with `pictures` every
    image is hashed again. With `repair`, differences are repaired as by `run`, and all is checked again.

    Raises VerificationError if anything differs; the error's `result` is the verdict.
    """
    values = _read(VERIFY, catalog, keywords)
    settings = settings_of({name: value for name, value in values.items() if name != "sample"})
    vectors = values.get("sample", _VECTORS)
    checks = {name: values[name] for name in ("pictures", "embed") if name in values}
    from ingest.tasks import repair
    from ingest.tasks import verify as task

    def check(seed: int | None) -> Verdict:
        return call(partial(task.verify, settings, sample=vectors, seed=seed, **checks), progress, stop)

    verdict = check(values.get("seed"))
    repairs = bool(values.get("repair")) and bool(verdict.differing)
    if repairs:
        outcome = call(partial(repair.repair, settings, verdict), progress, stop)
        verdict = check(verdict.seed)
        verdict.notes += [f"the run: {outcome.failure}"] if outcome.failure else []
    verdict.notes = list(map(in_python, verdict.notes))
    return _checked(verdict, verdict.failure(repaired=repairs))


def _read(keywords: Keywords, catalog: kinds.Place | None, given: Mapping[str, Any]) -> dict[str, Any]:
    return reword_errors(lambda: keywords.read(given if catalog is None else {"catalog": catalog, **given}))


def _summary(outcome: Outcome) -> RunSummary:
    """Return what was done, with its messages in the words of Python; raises the outcome's failure."""
    found = RunSummary.of(outcome)
    notes, examples = list(map(in_python, found.notes)), _in_python(found.examples)
    found = replace(found, notes=notes, examples=examples, hint=in_python(found.hint), failure=in_python(found.failure))
    return _checked(found, outcome.failure)


def _in_python(examples: Mapping[str, str]) -> dict[str, str]:
    return {reason: in_python(example) for reason, example in examples.items()}


def _checked(result: T, failure: IngestError | None) -> T:
    """Return a result; raises its failure, if there is one, with the result."""
    if failure is None:
        return result
    failure.result = result
    raise reword(failure)
