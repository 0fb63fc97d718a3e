"""`ingest fetch`: the pictures alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import options
from ingest.cli.output import terminal
from ingest.core.errors import TooManySkippedError

if TYPE_CHECKING:
    from pathlib import Path


@click.command("fetch", cls=options.Command)
@options.catalog
@options.contract
@options.downloads
@options.data
@options.config_option
@options.outcome
@options.profile
def command(*, as_json: bool, quiet: bool, profile: Path | None, **values: Any) -> None:
    """Fetch the catalog's pictures, and nothing else.

    What failed and may heal is tried again, each time; what will not, such as a 404, only with --retry-failed or
    under another URL. ingest status shows how it stands.
    """
    from ingest.tasks import fetch

    settings = options.settings(values)
    with terminal.follow(quiet=quiet, profile=profile) as (progress, stop):
        fetched = fetch.fetch(settings, progress, stop)
    if as_json:
        click.echo(json.dumps(asdict(fetched), ensure_ascii=False, indent=2))
    else:
        click.echo(
            f"{fetched.products:,} products: {fetched.pictures:,} pictures are there, {fetched.skipped:,} skipped "
            f"in {fetched.seconds:.1f} s"
        )
        terminal.tell_skipped(fetched.reasons, fetched.examples)
        click.echo()
        for name, place in fetched.places.items():
            click.echo(f"  {name:<11}{place}")
    if fetched.failure:
        raise TooManySkippedError(fetched.failure)
