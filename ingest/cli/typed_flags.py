"""Flags that were typed on the command line."""

from __future__ import annotations

import click
from click.core import ParameterSource


def explicit_flags(ctx: click.Context, *names: str) -> list[str]:
    """Return those of the named flags that are on the command line, with their values, to repeat them in advice."""
    from ingest.milvus.uris import split_user

    words = []
    for name in names:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = str(ctx.params[name])
            words += [f"--{name.replace('_', '-')}", split_user(value)[0] if name == "uri" else value]
    return words


def refuse(ctx: click.Context, why: str, *names: str) -> None:
    """Raise UsageError if one of the named flags is on the command line, because it would be ignored."""
    for word in explicit_flags(ctx, *names)[:1]:
        raise click.UsageError(f"{word} {why}", ctx)
