"""`ingest fetch`: downloads only."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import help_groups, options
from ingest.cli.output import terminal
from ingest.core import display
from ingest.core.errors import TooManySkippedError
from ingest.core.wording import quantity

if TYPE_CHECKING:
    from pathlib import Path


@click.command("fetch", cls=help_groups.Command)
@options.catalog
@options.first_products
@options.downloads
@options.data
@options.config_option
@options.outcome
@options.profile
def command(*, as_json: bool, quiet: bool, profile: Path | None, **values: Any) -> None:
    """Download the catalog's images and do nothing else.

    \b
    Examples:
      ingest fetch --catalog products.csv
      ingest fetch --refresh-older-than 30d

    Downloads that failed for a transient reason are retried by each run. Permanent failures, such as a 404, are retried
    only with --retry-failed or under another URL. ingest status shows the result.
    """  # noqa: D301  Click needs the character itself
    from ingest.tasks import fetch

    settings = options.settings(values)
    with terminal.follow(quiet=quiet, profile=profile) as (progress, stop):
        fetched = fetch.fetch(settings, progress, stop)
    if as_json:
        display.echo_json(asdict(fetched))
    else:
        display.echo(
            f"{quantity(fetched.products, 'product')}: {quantity(fetched.pictures, 'image')} available, "
            f"{fetched.skipped:,} skipped "
            f"in {fetched.seconds:.1f} s"
        )
        if not quiet:
            terminal.tell_skipped(fetched.reasons, fetched.examples)
        for note in fetched.notes:
            display.echo(f"  note: {note}")
        if not quiet:
            display.echo()
            terminal.tell_places(fetched.places)
    if fetched.failure:
        raise TooManySkippedError(fetched.failure)
