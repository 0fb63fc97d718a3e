"""The README: short, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

from ingest.cli.main import _COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_read_in_a_few_minutes() -> None:
    assert len(README.splitlines()) <= 150


def test_the_commands_that_the_readme_types_exist() -> None:
    typed = re.findall(r"^(?:\$|   ) +ingest ([a-z]+) ", README, re.MULTILINE)
    assert {"run", "search"} <= set(typed)
    assert set(typed) <= set(_COMMANDS)


def test_the_readme_links_to_the_pages_that_a_stranger_needs() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+)\.md", README))
    assert {
        "tutorial",
        "photographs",
        "install",
        "own-catalog",
        "settings",
        "commands",
        "faq",
        "contributing",
    } <= linked
    assert "schema/README.md" in README
    assert "CHANGELOG.md" in README
