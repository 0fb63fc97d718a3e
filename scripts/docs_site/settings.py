"""The tables of settings, by the headings that --help has, from the options of the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs_site.commands import all_commands
from ingest.cli.help_groups import DEFAULTS, Grouped
from ingest.core.settings import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator

EMPTY: frozenset[object] = frozenset({"", None})


def options() -> dict[str, Grouped]:
    """Return the option of each setting, in the order of the settings."""
    found: dict[str, Grouped] = {}
    for command in all_commands().values():
        for param in command.params:
            if isinstance(param, Grouped) and param.name in KEYS:
                found.setdefault(param.name, param)
    return {key: found[key] for key in KEYS}


def table(heading: str) -> str:
    """Return the table of the settings below a heading of --help, in Markdown."""
    rows = list(_rows(heading))
    if not rows:
        raise ValueError(f"--help has no settings below {heading}")
    return "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *rows])


def _rows(heading: str) -> Iterator[str]:
    for key, option in options().items():
        if option.group == heading:
            yield f"| `{key}` | {_default(key, option)} | {option.help}{_also(key, option)} |"


def _also(key: str, option: Grouped) -> str:
    """Return which environment variables there are besides the one that every setting has."""
    variables = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or [])
    others = [
        f"`{name}`" for name in variables if name != f"INGEST_{key.upper()}" and f"`{name}`" not in str(option.help)
    ]
    return f" Also {' or '.join(others)}." if others else ""


def _default(key: str, option: Grouped) -> str:
    value = DEFAULTS[key]
    if isinstance(option.show_default, str):
        return option.show_default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "" if value in EMPTY else f"`{value}`"
