"""What commands show people: how a run is followed and interrupted, what it did, and what to type next."""

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
    """Let warnings of the library through, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("ingest: %(message)s"))
    logger = logging.getLogger("ingest")
    logger.handlers[:] = [handler]
    logger.propagate = False


@contextmanager
def follow(*, quiet: bool, profile: Path | None = None) -> Iterator[tuple[Progress, threading.Event]]:
    """Show how a run goes on while the block works: give its progress, and the event that Ctrl-C sets.

    `profile` is a file for a trace of the run.
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
    """Say once that the sample model is one; it is known by the mark in its config.json."""
    try:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(config, dict) and config.get("ingest_sample"):
        click.echo(
            f"ingest: {model} is a sample model that knows drawn products only; "
            "for real pictures: --model openai/clip-vit-base-patch32",
            err=True,
        )


def program() -> str:
    """Return what to type for `ingest`: the word alone where the shell finds this very program."""
    called = Path(sys.argv[0])
    found = shutil.which("ingest")
    if called.name != "ingest" or (found and Path(found).resolve() == called.resolve()):
        return "ingest"
    return _near(called)


def show(outcome: Outcome, *, as_json: bool) -> None:
    """Print what was done, for machines or for people; raises what it failed in, if anything."""
    if as_json:
        click.echo(_as_json(outcome))
    else:
        _tell(outcome)
    if outcome.failure is not None:
        raise outcome.failure


def _as_json(outcome: Outcome) -> str:
    """Return the machine-readable summary: one object."""
    content = {
        **asdict(outcome.summary),
        "pictures_per_second": round(outcome.summary.pictures_per_second, 1),
        "places": outcome.places,
        "notes": list(outcome.notes),
        "failure": str(outcome.failure or ""),
    }
    return json.dumps(content, ensure_ascii=False, indent=2)


def _tell(outcome: Outcome) -> None:
    """Print what was done and where everything lies; first of all, if it is so, that it is not live."""
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
    """Print how many products were skipped, by reason, each with one of them for example."""
    for reason, count in reasons.items():
        shown = f", for example {credentials.redact(examples[reason])}" if reason in examples else ""
        click.echo(f"  {count:>8,} skipped: {reason}{shown}")


def tell_next(outcome: Outcome, flags: list[str]) -> None:
    """Print three searches to try, on a product of this very catalog."""
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
    """Return a path as a person here would type it."""
    return os.path.relpath(path) if path.is_absolute() and path.is_relative_to(Path.cwd()) else str(path)


def _rate(summary: Summary) -> str:
    return f" ({summary.pictures_per_second:,.1f} pictures/s)" if summary.embedded else ""
