"""What the README says of commands, settings and exit codes is what the code has."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from ingest.cli.main import _COMMANDS, cli
from ingest.core import errors
from ingest.core.settings import KEYS, Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    section = README.split(f"{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table[0].splitlines()[2:]]


def _error_classes() -> list[type[errors.IngestError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.IngestError)]


def test_the_table_of_exit_codes_is_the_classes_own():
    told = {int(code): meaning for code, meaning in _rows("## Exit codes")}
    classes = {kind.exit_code: kind.meaning for kind in _error_classes()}
    assert told == {0: "done", 2: "usage: an option or argument is wrong", **classes}


def test_the_table_of_settings_names_every_key_and_its_default():
    told = {key.strip("`"): default.strip("`") for key, default, _ in _rows("## Settings")}
    assert list(told) == list(KEYS)
    for setting in fields(Settings):
        value = getattr(Settings(), setting.name)
        if isinstance(value, bool):
            assert told[setting.name] == str(value).lower()
        elif isinstance(value, int | float) or setting.name in ("catalog", "data", "model", "device", "dtype"):
            assert told[setting.name] == str(value)


def test_every_setting_is_a_flag_and_an_environment_variable():
    commands = [cli.get_command(None, name) for name in _COMMANDS]
    options = {param.name: param for command in commands for param in command.params}
    for key in KEYS:
        assert f"--{key.replace('_', '-')}" in options[key].opts, key
        assert f"INGEST_{key.upper()}" in (
            [options[key].envvar] if isinstance(options[key].envvar, str) else options[key].envvar
        )


def test_the_commands_that_the_readme_names_are_all_there_are():
    told = {re.match(r"`ingest (\w+)", cells[0])[1] for cells in _rows("## Commands")}
    assert told == set(_COMMANDS)
    named = re.findall(r"(?<![\w./-])ingest ([a-z]+) ", README)
    assert {"run", "search"} < set(named)
    for name in named:
        assert name in {*_COMMANDS, "keeps"}, name


def test_every_file_that_a_page_links_to_is_there():
    pages = [ROOT / "README.md", ROOT / "schema" / "README.md", *(ROOT / "docs").glob("*.md")]
    assert {"architecture.md", "operations.md", "security.md", "testing.md"} < {page.name for page in pages}
    for page in pages:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
