"""`ingest run`: the main command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ingest.cli import help_groups, options, typed_flags
from ingest.cli.output import plan, terminal
from ingest.core.idle_settings import idle_settings

if TYPE_CHECKING:
    from pathlib import Path


@click.command("run", cls=help_groups.Command)
@options.catalog
@options.first_products
@options.images
@options.model
@options.batch_size
@options.engine
@options.milvus
@options.loading
@options.data
@options.store
@options.config_option
@options.removal
@help_groups.option("Output", "--exports/--no-exports", help="Also write the .npy and FAISS files.")
@options.parquet
@options.allow_smaller
@options.outcome
@options.profile
@click.option(
    "--dry-run",
    is_flag=True,
    cls=help_groups.Grouped,
    group="Output",
    help="Only show what would be done, like ingest plan.",
)
@plan.details
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    as_json: bool,
    quiet: bool,
    profile: Path | None,
    dry_run: bool,
    details: bool,
    **values: Any,
) -> None:
    """Update the Milvus collection from the catalog.

    \b
    Examples:
      ingest run
      ingest run --catalog products.csv --uri http://localhost:19530
      ingest run --catalog s3://shop/feed/ --download-missing --prune

    Each image is embedded once, and its vector is upserted under the product id. Only new and changed products cause
    work. An interrupted run continues when the same command is started again. The alias switches to a new collection
    only when that is complete.
    """  # noqa: D301  Click needs the character itself
    settings = options.settings(values)
    for why, names in idle_settings(settings):
        typed_flags.refuse(ctx, why, *names)
    if dry_run and profile:
        raise click.UsageError("--profile does not work with --dry-run.")
    if dry_run:
        plan.show(settings, as_json=as_json, quiet=quiet, details=details)
        return
    if details:
        raise click.UsageError("--details works with --dry-run only; a run writes its changes to changes.csv.")
    from ingest.core.errors import ClusterSizeError
    from ingest.tasks import run

    with terminal.follow(quiet=quiet, profile=profile) as (progress, stop):
        try:
            outcome = run.run(settings, progress, stop)
        except ClusterSizeError as error:
            raise click.UsageError(f"{error}.") from error
    terminal.show(outcome, as_json=as_json, quiet=quiet)
    if outcome.summary.embedded and not quiet:
        terminal.note_sample(settings.model)
    if not as_json and not quiet:
        flags = typed_flags.explicit_flags(ctx, "uri", "db_name", "model", "model_revision", "schema", "data")
        terminal.tell_next(outcome, flags)
