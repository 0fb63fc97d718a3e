"""`ingest verify`: checks collection and files against catalog and store."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import credentials, help_groups, options
from ingest.cli.output import terminal
from ingest.core import display

if TYPE_CHECKING:
    from ingest.tasks.verdict import Verdict

_SHOWN = 20


@click.command("verify", cls=help_groups.Command)
@options.catalog
@click.option("--sample", "vectors", type=click.IntRange(0), default=1000, show_default=True, metavar="N",
              cls=help_groups.Grouped, group="Checks",
              help="Number of vectors to compare bit for bit and to search for.")  # fmt: skip
@click.option("--pictures", is_flag=True, cls=help_groups.Grouped, group="Checks",
              help="Hash every image again instead of trusting its size and time.")  # fmt: skip
@click.option("--embed", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              cls=help_groups.Grouped, group="Checks",
              help="Number of images to embed again and compare with the collection.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), metavar="N", cls=help_groups.Grouped, group="Checks",
              help="Seed of the samples, to repeat an earlier verification; each prints its seed.")  # fmt: skip
@click.option(
    "--repair", is_flag=True, cls=help_groups.Grouped, group="Checks", help="Repair differences, then check again."
)
@options.images
@options.model
@options.batch_size
@options.milvus
@options.data
@options.store
@options.config_option
@options.removal
@help_groups.option("Output", "--exports/--no-exports", help="Also check the .npy and FAISS files.")
@help_groups.option("Output", "--parquet", is_flag=True, help="Also check the Parquet file, as is done if it exists.")
@options.as_json
@options.quiet
def command(
    *, vectors: int, pictures: bool, embed: int, seed: int | None, repair: bool, as_json: bool, quiet: bool,
    **values: Any,
) -> None:  # fmt: skip
    """Check the collection and the exported files against the catalog and the store.

    \b
    Examples:
      ingest verify
      ingest verify --pictures --repair
      ingest verify --embed 200

    Compares every id and digest, the counts, the fields of all rows (of 20,000 if there are more than 200,000), sampled
    vectors, the index, the alias, checksums, and the results of the FAISS files. Nothing is changed. If anything
    differs, it is listed and the exit code is 7. --repair then does what ingest run would do.
    """  # noqa: D301  Click needs the character itself
    from ingest.tasks import verify
    from ingest.tasks.repair import repair as repair_differences

    settings = options.settings(values)
    with terminal.follow(quiet=quiet) as (progress, stop):
        verdict = verify.verify(settings, progress, stop, vectors, seed=seed, pictures=pictures, embed=embed)
    if verdict.differing and repair:
        _print(verdict)
        with terminal.follow(quiet=quiet) as (progress, stop):
            outcome = repair_differences(settings, verdict, progress, stop)
        if outcome.failure is not None:
            display.echo(f"  the run: {credentials.redact(str(outcome.failure))}", err=True)
        with terminal.follow(quiet=True) as (progress, stop):
            verdict = verify.verify(
                settings, progress, stop, vectors, seed=verdict.seed, pictures=pictures, embed=embed
            )
    if as_json:
        display.echo_json({**asdict(verdict), "proven": verdict.proven})
    else:
        _print(verdict)
    if failure := verdict.failure(repaired=repair):
        raise failure


def _print(verdict: Verdict) -> None:
    for found in verdict.differing[:_SHOWN]:
        display.echo(f"  {found.kind} {found.name} {found.detail}", err=True)
    if len(verdict.differing) > _SHOWN:
        display.echo(f"  … and {len(verdict.differing) - _SHOWN} more; --json lists them all", err=True)
    for note in verdict.notes:
        display.echo(f"  note: {note}", err=True)
    display.echo(f"{verdict.collection}: {verdict.proven}; in {verdict.seconds:.1f} s", err=bool(verdict.differing))
