"""Output of commands for people: progress, what a run did, and what to type next."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingest.api.results import RunSummary
from ingest.cli import credentials, interrupts
from ingest.core import display, escape
from ingest.core.errors import NotLiveError
from ingest.core.wording import quantity

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    from ingest.pipeline.outcome import Outcome
    from ingest.pipeline.progress import Progress
    from ingest.pipeline.report import Summary


class _StderrHandler(logging.Handler):
    """Writes a message as one line, and a traceback, if there is one, below it."""

    def emit(self, record: logging.LogRecord) -> None:
        display.echo(f"ingest: {record.getMessage()}", err=True)
        if record.exc_info:
            for line in logging.Formatter().formatException(record.exc_info).splitlines():
                display.echo(line, err=True)


def log_to_stderr() -> None:
    """Send the library's warnings to stderr, one line each."""
    logger = logging.getLogger("ingest")
    logger.handlers[:] = [_StderrHandler()]
    logger.propagate = False


@contextmanager
def follow(*, quiet: bool, profile: Path | None = None) -> Iterator[tuple[Progress, threading.Event]]:
    """Show progress while the block runs; yields the progress to update, and the event that Ctrl-C sets.

    A trace of the run is written to `profile`.
    """
    from ingest.pipeline import progress
    from ingest.runtime.profiler import StageProfiler
    from ingest.runtime.trace import Trace

    log_to_stderr()
    with ExitStack() as stack:
        following = progress.Progress(StageProfiler(stack.enter_context(Trace(profile)) if profile else None))
        stop = stack.enter_context(interrupts.stoppable())
        stack.enter_context(progress.show(following, quiet=quiet))
        yield following, stop


def note_sample(model: str) -> None:
    """Warn if the model is the sample model, which has a mark in its config.json."""
    try:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(config, dict) and config.get("ingest_sample"):
        display.echo(
            f"ingest: {model} is a sample model that knows only drawn products; "
            "for real images: --model openai/clip-vit-base-patch32",
            err=True,
        )


def confirm(question: str) -> bool:
    """Ask on stderr whether to go on; raises UsageError if nobody can answer, because stdin is at its end."""
    try:
        return click.confirm(escape.line(question), err=True)
    except click.Abort as error:  # Ctrl-C has its own handler
        raise click.UsageError("There is nobody to answer the question; pass --yes.") from error


def program() -> str:
    """Return what to type for `ingest`: just the name if the shell finds this program by it, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which("ingest")
    if called.name != "ingest" or (found and Path(found).resolve() == called.resolve()):
        return "ingest"
    return _near(called)


def show(outcome: Outcome, *, as_json: bool, quiet: bool) -> None:
    """Print what was done, as JSON or as text, in a line and notes if `quiet`; raises the run's failure, if any."""
    if as_json:
        display.echo_json(RunSummary.of(outcome).to_dict())
    else:
        _tell(outcome, quiet=quiet)
    if outcome.failure is not None:
        raise outcome.failure


def _tell(outcome: Outcome, *, quiet: bool) -> None:
    """Print what was done and where everything is; first, if so, that it is not live."""
    summary = outcome.summary
    if isinstance(outcome.failure, NotLiveError):
        display.echo(credentials.redact(str(outcome.failure)))
    display.echo(
        f"{quantity(summary.products, 'product')}: {summary.embedded:,} embedded, {summary.skipped:,} skipped, "
        f"{summary.upserted:,} upserted, {summary.unchanged:,} unchanged "
        f"in {summary.seconds:.1f} s{_rate(summary)}"
    )
    if not quiet or outcome.failure is not None:  # a night that went wrong says why
        tell_skipped(summary.reasons, summary.examples)
    if not quiet:
        if summary.deleted:
            display.echo(f"  {summary.deleted:>8,} {'row' if summary.deleted == 1 else 'rows'} deleted")
        if summary.bound_by:
            display.echo(f"  bound by: {summary.bound_by}{'; ' if summary.hint else ''}{summary.hint}")
    for note in outcome.notes:
        display.echo(f"  note: {note}")
    if not quiet:
        display.echo()
        tell_places(outcome.places)


def tell_places(places: Mapping[str, str]) -> None:
    """Print where the results are."""
    for name, place in places.items():
        display.echo(f"  {name:<11}{place}")


def tell_skipped(reasons: Mapping[str, int], examples: Mapping[str, str]) -> None:
    """Print how many products were skipped, by reason, with one example each."""
    for reason, count in reasons.items():
        shown = f", for example {credentials.redact(examples[reason])}" if reason in examples else ""
        display.echo(f"  {count:>8,} skipped: {reason}{shown}")


def tell_next(outcome: Outcome, flags: list[str]) -> None:
    """Print three searches to try, with a product of this catalog."""
    if outcome.example is None:
        return
    product = outcome.example.product
    text = next(
        (str(product.metadata[name]) for name in ("title", "category") if product.metadata.get(name)),
        "red mug",
    )
    searches = ([text], ["--product", product.product_id], ["--image", _near(outcome.example.path)])
    commands = [shlex.join([program(), "search", *words, *flags]) for words in searches]
    typeable = [command for command in commands if escape.line(command) == command]
    if typeable:
        display.echo()
        display.echo("Try next:")
    for command in typeable:
        display.echo(f"  {command}")


def _near(path: Path) -> str:
    """Return a path relative to the current folder if it is inside."""
    return os.path.relpath(path) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)


def _rate(summary: Summary) -> str:
    return f" ({summary.pictures_per_second:,.1f} images/s)" if summary.embedded else ""
