"""The table of exit codes, from the tree of errors."""

from __future__ import annotations

from ingest.core import errors


def table() -> str:
    """Return the table, in Markdown."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.IngestError)]
    meanings = {0: "done", 2: "usage: an option or argument is wrong"}
    meanings |= {kind.exit_code: kind.meaning for kind in kinds}
    rows = [f"| {code} | {meanings[code]} |" for code in sorted(meanings)]
    return "\n".join(["| code | meaning |", "| ---: | --- |", *rows])
