"""`ingest run`: the main command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ingest.cli import options
from ingest.cli.output import plan, terminal

if TYPE_CHECKING:
    from pathlib import Path


@click.command("run", cls=options.Command)
@options.catalog
@options.contract
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
@options.option("Outcome", "--exports/--no-exports", help="Write the .npy pair and the FAISS files too.")
@options.allow_smaller
@options.outcome
@options.profile
@click.option("--dry-run", is_flag=True, cls=options.Grouped, group="Outcome", help="Say what would be done, only.")
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
    """Bring the Milvus collection in step with the catalog.

    Pictures are embedded once and upserted under their product id; what is in place already is left alone, and
    an interrupted run goes on where it was. The collection is served, through its alias, when it is complete.
    """
    settings = options.settings(values)
    if settings.engine == "ray":
        options.refuse(ctx, "goes with --engine threads; on a cluster the workers upsert.", "bulk_folder", "bulk_path")
    else:
        options.refuse(ctx, "goes with --engine ray.", "address", "actors", "gpus_per_actor", "upsert_parallelism")
    if settings.bulk_folder is None:
        options.refuse(ctx, "goes with --bulk-folder.", "bulk_path")
    if dry_run and profile:
        raise click.UsageError("--profile goes with a run; --dry-run makes none.")
    if dry_run:
        plan.show(settings, as_json=as_json, quiet=quiet, details=details)
        return
    if details:
        raise click.UsageError("--details goes with --dry-run; a run leaves changes.csv with all it did.")
    from ingest.tasks import run

    if not quiet:
        terminal.note_sample(settings.model)
    with terminal.follow(quiet=quiet, profile=profile) as (progress, stop):
        outcome = run.run(settings, progress, stop)
    terminal.show(outcome, as_json=as_json)
    if not as_json:
        flags = options.explicit_flags(ctx, "uri", "db_name", "model", "model_revision", "schema", "data")
        terminal.tell_next(outcome, flags)
