"""Links in the repository's Markdown: every file and every heading that they name must exist.

`python -m docs_site.links` lists those that do not, and exits with 1. Addresses of other hosts are not asked.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\(<?(?!\w+:)([^)\s>]*)>?(?: \"[^\"]*\")?\)|<img [^>]*?src=\"(?!\w+:)([^\"]+)\"")
_FOLDERS = ("benchmarks", "data/models/sample-clip", "docs", "examples", "schema", "scripts", "tests")
_CODE = re.compile(r"^( {0,3})(```+|~~~+).*?^ {0,3}\2`*\s*?$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Return the repository's Markdown files, without those of installed packages."""
    found = [ROOT.glob("*.md"), *((ROOT / folder).rglob("*.md") for folder in _FOLDERS)]
    return sorted(path for paths in found for path in paths if "node_modules" not in path.parts)


def links(text: str) -> Iterator[str]:
    """Yield the targets of a page's links within the repository; code is not looked at."""
    for found in LINK.finditer(_CODE.sub("", text)):
        yield found[1] if found[1] is not None else found[2]


def broken(page: Path) -> Iterator[str]:
    """Yield the targets on a page that do not exist."""
    for target in links(page.read_text(encoding="utf-8")):
        name, _, heading = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (heading and path.suffix == ".md" and heading not in headings(path)):
            yield target


@cache
def headings(page: Path) -> frozenset[str]:
    """Return the names by which a page's headings are linked to, as GitHub and the site make them."""
    seen: Counter[str] = Counter()
    text = re.sub(
        r"^ {0,3}(```+|~~~+).*?^ {0,3}\1`*\s*?$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    for title in re.findall(r"^#{1,6} +(.+?) *#*$", text, re.MULTILINE):
        seen[slug(title)] += 1
    return frozenset(
        name if not number else f"{name}-{number}" for name, many in seen.items() for number in range(many)
    )


def slug(title: str) -> str:
    """Return the name of a heading: lower case, without marks, and with `-` for each blank."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")


def main() -> None:
    """List broken links."""
    found = [f"{page.relative_to(ROOT)}: {target}" for page in pages() for target in broken(page)]
    print("\n".join(found) or f"{len(pages())} pages: every link leads somewhere")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
