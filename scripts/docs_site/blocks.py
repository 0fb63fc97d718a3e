"""Parts of pages that are made from the code: `python -m docs_site.blocks` writes them, a test compares them.

A part stands between `<!-- made from the code: NAME -->` and `<!-- end -->`; what is around it is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from docs_site import commands, exit_codes, http_api, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(<!-- made from the code: ([^>]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> Iterator[Path]:
    """Yield the pages that may have such parts."""
    yield from sorted((ROOT / "docs").rglob("*.md"))


def fill(page: str) -> str:
    """Return a page with its parts as the code has them today."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{make(found[2]).strip()}\n\n{found[3]}", page)


def make(name: str) -> str:
    """Return a part by its name, in Markdown."""
    kind, _, argument = name.partition(" ")
    if kind == "settings":
        return settings.table(argument)
    return {"exit-codes": exit_codes.table, "commands": commands.table, "help": commands.help_texts,
            "http": http_api.operations}[kind]()  # fmt: skip


def main() -> None:
    """Write every page whose parts differ from the code, and name it."""
    for path in pages():
        page = path.read_text(encoding="utf-8")
        if (filled := fill(page)) != page:
            path.write_text(filled, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
