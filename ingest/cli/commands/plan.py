"""`ingest plan`: what a run would do."""

from __future__ import annotations

from typing import Any

import click

from ingest.cli import help_groups, options, typed_flags
from ingest.cli.output import plan


@click.command("plan", cls=help_groups.Command)
@options.catalog
@options.first_products
@options.images
@options.model
@options.milvus
@options.data
@options.store
@options.config_option
@options.removal
@help_groups.option("Output", "--exports/--no-exports", help="Also plan the .npy and FAISS files.")
@help_groups.option("Output", "--parquet", is_flag=True, help="Also plan the Parquet file.")
@options.allow_smaller
@plan.details
@plan.estimate
@options.outcome
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool, quiet: bool, details: bool, estimate: bool, **values: Any) -> None:
    """Show what a run would add, change, delete and skip.

    \b
    Examples:
      ingest plan
      ingest plan --prune --details
      ingest plan --estimate --download-missing

    The same as `ingest run --dry-run`: nothing is downloaded, embedded or written.

    --estimate predicts the memory, disk and hours for the whole catalog. It embeds a sample of 200 products, and
    downloads their images if --download-missing is given.
    """  # noqa: D301  Click needs the character itself
    if estimate:
        typed_flags.refuse(
            ctx, "has no effect with --estimate.",
            "uri", "db_name", "max_wait", "prune", "drop_failed", "max_prune", "accept_changed_catalog",
            "max_skipped", "exports", "parquet", "allow_smaller",
        )  # fmt: skip
        plan.show_estimate(options.settings(values), as_json=as_json, quiet=quiet, details=details)
        return
    plan.show(options.settings(values), as_json=as_json, quiet=quiet, details=details)
