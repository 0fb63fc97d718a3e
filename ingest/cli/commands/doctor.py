"""`ingest doctor`: checks what a run needs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from ingest.cli import help_groups, options
from ingest.cli.output import terminal
from ingest.core import display


@click.command("doctor", cls=help_groups.Command)
@options.catalog
@options.first_products
@options.model
@options.milvus
@options.data
@options.config_option
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, *, as_json: bool, **values: Any) -> None:
    """Check torch, device, model, contract, Milvus, catalog and disk.

    \b
    Examples:
      ingest doctor
      ingest doctor --uri http://localhost:19530 --device cuda

    Prints one line per check, and what to do about a failed one. The exit code is that of the first failure, or 0.
    """  # noqa: D301  Click needs the character itself
    from ingest.tasks import doctor

    terminal.log_to_stderr()
    findings = []
    for finding in doctor.findings(options.settings(values)):
        findings.append(finding)
        if not as_json:
            mark = display.in_red("FAIL") if finding.exit_code else display.in_green("ok  ")
            display.echo(mark, f" {finding.name:<9}{finding.found}")
            if finding.way_out:
                display.echo(f"{'':<14}→ {finding.way_out}")
    if as_json:
        display.echo_json([asdict(finding) for finding in findings])
    ctx.exit(next((finding.exit_code for finding in findings if finding.exit_code), 0))
