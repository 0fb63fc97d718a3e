"""`ingest verify`: proof that everything is as it should be."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import credentials, options
from ingest.cli.output import terminal

if TYPE_CHECKING:
    from ingest.tasks.verify import Verdict

_SHOWN = 20


@click.command("verify", cls=options.Command)
@options.catalog_file
@click.option("--sample", "vectors", type=click.IntRange(0), default=1000, show_default=True, metavar="N",
              cls=options.Grouped, group="Proof", help="Vectors to compare bit for bit and search for.")  # fmt: skip
@click.option("--pictures", is_flag=True, cls=options.Grouped, group="Proof",
              help="Hash every image again, where size and time are believed otherwise.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), metavar="N", cls=options.Grouped, group="Proof",
              help="Draw what is drawn as an earlier run did, which printed it.")  # fmt: skip
@click.option("--repair", is_flag=True, cls=options.Grouped, group="Proof", help="Do what heals it, and look again.")
@options.contract
@options.images
@options.model
@options.batch_size
@options.milvus
@options.data
@options.store
@options.config_option
@options.removal
@options.option("Outcome", "--exports/--no-exports", help="Look at the .npy pair and the FAISS files too.")
@click.option("--json", "as_json", is_flag=True, cls=options.Grouped, group="Outcome", help="All of it, for machines.")
@click.option("--quiet", "-q", is_flag=True, cls=options.Grouped, group="Outcome", help="The verdict only.")
def command(
    *, vectors: int, pictures: bool, seed: int | None, repair: bool, as_json: bool, quiet: bool, **values: Any
) -> None:
    """Prove the collection and the exported files against the catalog and the store.

    Every id and digest, counts, the fields of all rows (of 20,000 in a collection of more than 200,000), sampled
    vectors, the index, the alias, checksums, and what the FAISS files find. Nothing is changed. The exit code is 7,
    with a list, where anything differs. --repair then runs what an ingest run would.
    """
    from ingest.core.errors import VerificationError
    from ingest.tasks import run, verify

    settings = options.settings(values)
    with terminal.follow(quiet=quiet) as (progress, stop):
        verdict = verify.verify(settings, progress, stop, vectors, seed=seed, pictures=pictures)
    if verdict.differing and repair:
        _print(verdict)
        if images := [found.name for found in verdict.differing if found.kind == "image"]:
            verify.forget_images(settings, images)
        with terminal.follow(quiet=quiet) as (progress, stop):
            outcome = run.run(settings, progress, stop, verdict.distrusted, rewrite=verdict.has_wrong_files)
        if outcome.failure is not None:
            click.echo(f"  the run: {credentials.redact(str(outcome.failure))}", err=True)
        with terminal.follow(quiet=True) as (progress, stop):
            verdict = verify.verify(settings, progress, stop, vectors, seed=verdict.seed, pictures=pictures)
    if as_json:
        click.echo(json.dumps({**asdict(verdict), "proven": verdict.proven}, ensure_ascii=False, indent=2))
    else:
        _print(verdict)
    if verdict.differing:
        way_out = "what is left, a run cannot heal" if repair else "heal it with: ingest verify --repair"
        raise VerificationError(f"{verdict.collection}: {len(verdict.differing)} things differ; {way_out}")


def _print(verdict: Verdict) -> None:
    for found in verdict.differing[:_SHOWN]:
        click.echo(f"  {found.kind} {found.name} {found.detail}", err=True)
    if len(verdict.differing) > _SHOWN:
        click.echo(f"  … and {len(verdict.differing) - _SHOWN} more; --json lists them all", err=True)
    for note in verdict.notes:
        click.echo(f"  note: {note}", err=True)
    click.echo(f"{verdict.collection}: {verdict.proven}; in {verdict.seconds:.1f} s", err=bool(verdict.differing))
