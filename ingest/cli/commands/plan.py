"""`ingest plan`: what a run would do."""

from __future__ import annotations

from typing import Any

import click

from ingest.cli import options
from ingest.cli.output import plan


@click.command("plan", cls=options.Command)
@options.catalog
@options.contract
@options.images
@options.model
@options.milvus
@options.data
@options.store
@options.config_option
@options.removal
@options.option("Outcome", "--exports/--no-exports", help="Foresee the .npy pair and the FAISS files too.")
@options.allow_smaller
@plan.details
@plan.estimate
@options.outcome
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool, quiet: bool, details: bool, estimate: bool, **values: Any) -> None:
    """Say what a run would add, change, remove and skip.

    The same as `ingest run --dry-run`: the collection, its alias and the exports stay as they are, and nothing is
    downloaded or embedded. With --estimate: what memory, disk and hours the whole catalog takes, from a sample that
    is decoded and embedded here, and fetched with --download-missing; its pictures stay in the cache.
    """
    if estimate:
        options.refuse(
            ctx, "does nothing with --estimate.",
            "uri", "db_name", "max_wait", "prune", "drop_failed", "max_prune", "max_skipped", "exports",
            "allow_smaller",
        )  # fmt: skip
        plan.show_estimate(options.settings(values), as_json=as_json, quiet=quiet, details=details)
        return
    plan.show(options.settings(values), as_json=as_json, quiet=quiet, details=details)
