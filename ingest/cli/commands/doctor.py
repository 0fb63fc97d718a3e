"""`ingest doctor`: what a run needs, checked."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from ingest.cli import options
from ingest.cli.output import terminal


@click.command("doctor", cls=options.Command)
@options.catalog
@options.contract
@options.model
@options.milvus
@options.data
@options.config_option
@click.option("--json", "as_json", is_flag=True, cls=options.Grouped, group="Outcome", help="An array of findings.")
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool, **values: Any) -> None:
    """Check torch, device, model, contract, Milvus, catalog and disk.

    One line each, with what to do about what is wrong. The exit code is that of the first thing a run would fail
    on, or 0.
    """
    from ingest.tasks import doctor

    terminal.log_to_stderr()
    findings = []
    for finding in doctor.findings(options.settings(values)):
        findings.append(finding)
        if not as_json:
            mark = (
                click.style("ok  ", fg="green") if not finding.exit_code else click.style("FAIL", fg="red", bold=True)
            )
            click.echo(f"{mark} {finding.name:<9}{finding.found}")
            if finding.way_out:
                click.echo(f"{'':<14}→ {finding.way_out}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=2))
    ctx.exit(next((finding.exit_code for finding in findings if finding.exit_code), 0))
