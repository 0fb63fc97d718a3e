"""Output of commands for people: progress, what a run did, and what to type next."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingest.cli import credentials, interrupts
from ingest.core.errors import NotLiveError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    from ingest.pipeline.outcome import Outcome
    from ingest.pipeline.progress import Progress
    from ingest.pipeline.report import Summary


def log_to_stderr() -> None:
    """Send the library's warnings to stderr, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("ingest: %(message)s"))
    logger = logging.getLogger("ingest")
    logger.handlers[:] = [handler]
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
        click.echo(
            f"ingest: {model} is a sample model that knows only drawn products; "
            "for real images: --model openai/clip-vit-base-patch32",
            err=True,
        )


def program() -> str:
    """Return what to type for `ingest`: just the name if the shell finds this program by it, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which("ingest")
    if called.name != "ingest" or (found and Path(found).resolve() == called.resolve()):
        return "ingest"
    return _near(called)


def show(outcome: Outcome, *, as_json: bool) -> None:
    """Print what was done, as JSON or as text; raises the run's failure, if any."""
    if as_json:
        click.echo(_as_json(outcome))
    else:
        _tell(outcome)
    if outcome.failure is not None:
        raise outcome.failure


def _as_json(outcome: Outcome) -> str:
    """Return the summary as one JSON object."""
    content = {
        **asdict(outcome.summary),
        "pictures_per_second": round(outcome.summary.pictures_per_second, 1),
        "places": outcome.places,
        "notes": list(outcome.notes),
        "failure": str(outcome.failure or ""),
    }
    return json.dumps(content, ensure_ascii=False, indent=2)


def _tell(outcome: Outcome) -> None:
    """Print what was done and where everything is; first, if so, that it is not live."""
    summary = outcome.summary
    if isinstance(outcome.failure, NotLiveError):
        click.echo(credentials.redact(str(outcome.failure)))
    click.echo(
        f"{summary.products:,} products: {summary.embedded:,} embedded, {summary.skipped:,} skipped, "
        f"{summary.upserted:,} upserted, {summary.unchanged:,} unchanged "
        f"in {summary.seconds:.1f} s{_rate(summary)}"
    )
    tell_skipped(summary.reasons, summary.examples)
    if summary.deleted:
        click.echo(f"  {summary.deleted:>8,} rows deleted")
    if summary.bound_by:
        click.echo(f"  bound by: {summary.bound_by}{'; ' if summary.hint else ''}{summary.hint}")
    for note in outcome.notes:
        click.echo(f"  note: {note}")
    click.echo()
    for name, place in outcome.places.items():
        click.echo(f"  {name:<11}{place}")


def tell_skipped(reasons: Mapping[str, int], examples: Mapping[str, str]) -> None:
    """Print how many products were skipped, by reason, with one example each."""
    for reason, count in reasons.items():
        shown = f", for example {credentials.redact(examples[reason])}" if reason in examples else ""
        click.echo(f"  {count:>8,} skipped: {reason}{shown}")


def tell_next(outcome: Outcome, flags: list[str]) -> None:
    """Print three searches to try, with a product of this catalog."""
    if outcome.example is None:
        return
    product = outcome.example.product
    text = next(
        (str(product.metadata[name]) for name in ("title", "category") if product.metadata.get(name)),
        "red mug",
    )
    click.echo("\nTry next:")
    for words in ([text], ["--product", product.product_id], ["--image", _near(outcome.example.path)]):
        click.echo(f"  {shlex.join([program(), 'search', *words, *flags])}")


def _near(path: Path) -> str:
    """Return a path relative to the current folder if it is inside."""
    return os.path.relpath(path) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)


def _rate(summary: Summary) -> str:
    return f" ({summary.pictures_per_second:,.1f} images/s)" if summary.embedded else ""
