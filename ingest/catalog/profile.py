"""The shape of a catalog: its columns and how its text is written; and what changed since it was last read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ingest.catalog.casting import display

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROPERTY = "ingest.catalog"
"""The property of a collection that holds the profile of the catalog it was filled from, as JSON."""
MAX_COLUMNS, MAX_NAME = 200, 80
"""Columns that a profile names, and characters of each, so that the property stays small."""
_VERSION = 1
_NAMED = 5  # columns that a message names
_TYPES = {
    "id_column": str, "columns": list, "dialect": str, "encoding": str, "final_newline": bool, "short_rows": int,
    "rows": int, "read": str,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CatalogProfile:
    """What a catalog looked like when it was read to its end.

    `columns` are those that nearly all rows have, in order, `rare` the others, which are not kept. `dialect` is the
    format with its line ends, and `encoding` is "" for Parquet. `final_newline` is whether the last line of every text
    file had its line end. `short_rows` have fewer cells than the header. `read` is the date, YYYY-MM-DD. `decimals` are
    the decimal signs, point or comma, of the columns whose numbers are not all plain.
    """

    id_column: str
    columns: tuple[str, ...]
    dialect: str
    encoding: str
    final_newline: bool
    short_rows: int
    rows: int
    read: str
    rare: frozenset[str] = frozenset()
    decimals: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the profile as JSON, for a property."""
        content = {**asdict(self), "version": _VERSION}
        del content["rare"]
        if not self.decimals:  # as in the profiles of earlier versions
            del content["decimals"]
        return json.dumps(content)

    def says_same(self, other: CatalogProfile | None) -> bool:
        """Return whether two profiles have the same content, whenever they were made."""
        return other is not None and replace(self, read="").to_json() == replace(other, read="").to_json()


class ProfileChange(NamedTuple):
    """A difference between two profiles, in words, and whether it may make rows look as if they were gone."""

    words: str
    blocks: bool


def parse_profile(text: str) -> CatalogProfile | None:
    """Return the profile that `to_json` wrote; None for anything else: missing, broken, or of a later version."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("version") != _VERSION:
        return None
    values: dict[str, Any] = {name: content.get(name) for name in _TYPES}
    if any(type(values[name]) is not kind for name, kind in _TYPES.items()):
        return None
    decimals = content.get("decimals", {})
    if not isinstance(decimals, dict) or not set(decimals.values()) <= {"point", "comma"}:
        return None
    if not all(isinstance(name, str) for name in content["columns"]):
        return None
    return CatalogProfile(**{**values, "columns": tuple(content["columns"]), "decimals": decimals})


def differences(last: CatalogProfile | None, now: CatalogProfile) -> list[ProfileChange]:
    """Return what changed from the last profile to this one, in words; nothing if there is no last one.

    What can make rows look gone, or read differently, `blocks` deleting: another id column, dialect or encoding, a last
    line that lost its line end, and columns that are gone or renamed. A new column alone does not. The number of rows
    is not judged here.
    """
    if last is None:
        return []
    found = [
        ProfileChange(f"{what} was {display(before)} and is {display(after)}", blocks=True)
        for what, before, after in (
            ("the id column", last.id_column, now.id_column),
            ("the format", last.dialect, now.dialect),
            ("the encoding", last.encoding, now.encoding),
        )
        if before != after
    ]
    for column, sign in last.decimals.items():
        if (after := now.decimals.get(column, "point")) != sign and column in now.columns:
            words = f"the decimal sign of {display(column)} was a {sign} and is a {after}"
            found.append(ProfileChange(words, blocks=True))
    if last.final_newline and not now.final_newline:
        found.append(ProfileChange("the last line has no line end any more", blocks=True))
    gone = [name for name in last.columns if name not in now.columns and name not in now.rare]
    if gone:
        found.append(ProfileChange(f"{_columns(gone)} gone", blocks=True))
    # Rare columns of the last profile are not known, and of too many columns only the first.
    new = [name for name in now.columns if name not in last.columns] if len(last.columns) < MAX_COLUMNS else []
    if new:
        found.append(ProfileChange(f"{_columns(new)} new", blocks=False))
    return found


def _columns(names: Sequence[str]) -> str:
    shown = ", ".join(map(display, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")
    return f"the column {shown} is" if len(names) == 1 else f"the columns {shown} are"
