"""The commands: a table of what they do, and the --help of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.testing import CliRunner

from ingest.cli.main import _COMMANDS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 78
"""Columns of --help in a terminal of 80."""
_NO_CONTEXT = click.Context(cli)
"""Groups ask for one and look at nothing in it."""


def table() -> str:
    """Return a table of the commands, in Markdown."""
    rows = [f"| [`ingest {name}`](#ingest-{name}) | {said} |" for name, (_, said, _) in _COMMANDS.items()]
    return "\n".join(["| command | what it does |", "| --- | --- |", *rows])


def help_texts() -> str:
    """Return the help of every command and subcommand, all options, each below a heading, in Markdown."""
    found = (f"{'#' * (1 + path.count(' '))} {path}\n\n```text\n{shown(path)}\n```" for path in all_commands())
    return "\n\n".join(found)


def shown(path: str) -> str:
    """Return what a command prints when it is asked for all of its help in a terminal of 80 columns."""
    _, *words = path.split()
    has_more = any("--help-all" in param.opts for param in all_commands()[path].params)
    asked = CliRunner().invoke(
        cli, [*words, "--help-all" if has_more else "--help"], prog_name="ingest", terminal_width=WIDTH
    )
    if asked.exit_code:
        raise RuntimeError(f"{path} does not show its help: {asked.output}")
    return asked.output.rstrip()


def all_commands() -> dict[str, click.Command]:
    """Return every command and subcommand by what is typed for it."""
    return dict(_walk())


def _walk() -> Iterator[tuple[str, click.Command]]:
    for name in _COMMANDS:
        command = cli.get_command(_NO_CONTEXT, name)
        assert command is not None
        yield f"ingest {name}", command
        if isinstance(command, click.Group):
            for inner in command.list_commands(_NO_CONTEXT):
                found = command.get_command(_NO_CONTEXT, inner)
                assert found is not None
                yield f"ingest {name} {inner}", found
