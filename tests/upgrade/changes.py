"""What an upgrade rewrites on purpose: `changes.toml`, judged against what a run has rewritten and a plan has shown."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


FILE = Path(__file__).parent / "changes.toml"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a format, which the versions `of` it do not have yet.

    `changelog` stands in CHANGELOG.md and `plan` in what `ingest plan` prints, word for word; `rewrites` are patterns
    (fnmatch) for the things that `seen.everything` names, each of which a run must have rewritten; `embeds` is how
    many images are embedded again.
    """

    of: tuple[str, ...]
    changelog: str
    plan: str
    rewrites: tuple[str, ...]
    embeds: int = 0


def read(commit: str, path: Path = FILE) -> list[Change]:
    """Return the declared changes that an upgrade from `commit` meets."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    changes = [
        Change(**{key: tuple(value) if isinstance(value, list) else value for key, value in change.items()})
        for change in table.get("change", [])
    ]
    return [change for change in changes if commit in change.of]


def undeclared(rewritten: Iterable[str], changes: Iterable[Change]) -> list[str]:
    """Return what was rewritten and no change declares."""
    patterns = [pattern for change in changes for pattern in change.rewrites]
    return sorted(name for name in rewritten if not any(fnmatchcase(name, pattern) for pattern in patterns))


def untrue(rewritten: Iterable[str], plan: str, changelog: str, changes: Iterable[Change]) -> Iterator[str]:
    """Yield what is declared and not so."""
    rewritten = list(rewritten)
    for change in changes:
        for pattern in change.rewrites:
            if not any(fnmatchcase(name, pattern) for name in rewritten):
                yield f"rewrites {pattern}"
        if change.plan not in plan:
            yield f"ingest plan prints {change.plan}"
        if change.changelog not in changelog:
            yield f"CHANGELOG.md has {change.changelog}"
