"""The commands: a table of what they do, and the --help of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ingest.cli.main import _COMMANDS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 78
"""Columns of --help in a terminal of 80."""


def table() -> str:
    """Return a table of the commands, in Markdown."""
    rows = [f"| [`ingest {name}`](#ingest-{name}) | {said} |" for name, (_, said, _) in _COMMANDS.items()]
    return "\n".join(["| command | what it does |", "| --- | --- |", *rows])


def help_texts() -> str:
    """Return the --help of every command and subcommand, each below a heading, in Markdown."""
    return "\n\n".join(f"{'#' * (1 + path.count(' '))} {path}\n\n```text\n{text}\n```" for path, text in _helps())


def all_commands() -> dict[str, click.Command]:
    """Return every command and subcommand by what is typed for it."""
    return {path: command for path, command, _ in _walk()}


def _helps() -> Iterator[tuple[str, str]]:
    for path, command, context in _walk():
        yield path, command.get_help(context).rstrip()


def _walk() -> Iterator[tuple[str, click.Command, click.Context]]:
    top = _context(cli, "ingest", None)
    for name in _COMMANDS:
        command = cli.get_command(top, name)
        assert command is not None
        context = _context(command, name, top)
        yield f"ingest {name}", command, context
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                found = command.get_command(context, inner)
                assert found is not None
                yield f"ingest {name} {inner}", found, _context(found, inner, context)


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(command, parent=parent, info_name=name, terminal_width=WIDTH, **command.context_settings)
