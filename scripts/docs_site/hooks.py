"""MkDocs' hooks: files of the repository to which pages link become pages of the site, so that it is whole offline.

A page `docs/x.md` links to `../schema/README.md` or `../ingest/core/errors.py`, as it must on a code host. In the site
such a file stands below `repository/`: Markdown as a page, anything else as a listing. What these link to follows.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
ALWAYS = ("CHANGELOG.md", "schema/README.md")
"""Files of the repository that the navigation names."""
INNER = {"architecture.md", "benchmarks.md", "decisions.md", "testing.md"}
"""Pages about the code: a search shows them after those for users."""
_LINK = re.compile(r"(\]\(<?)(?!\w+:|#|/)([^)\s>#]+)")
_FENCE = re.compile(r"(^ {0,3}(?:```+|~~~+).*?^ {0,3}(?:```+|~~~+)\s*?$)", re.MULTILINE | re.DOTALL)
_LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "bash", ".ts": "typescript", ".yml": "yaml", ".json": "json"}
_PICTURES = {".png", ".svg", ".jpg"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file of the repository that a page links to."""
    waiting = [*ALWAYS]
    for file in files.documentation_pages():
        waiting += _outside(f"docs/{file.src_uri}", file.content_string)
    while waiting:
        name = waiting.pop()
        place = _place(name)
        if files.get_file_from_path(place) is None and (ROOT / name).is_file():
            files.append(_file(name, place, config))
            if name.endswith(".md"):
                waiting += _outside(name, (ROOT / name).read_text(encoding="utf-8"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  MkDocs' names
    """Point links to files of the repository at where the site has them."""
    source = page.file.src_uri
    here = _name(source)
    if source in INNER or source.startswith("repository/tests/"):
        page.meta.setdefault("search", {}).setdefault("boost", 0.2)

    def moved(found: re.Match[str]) -> str:
        name = _resolve(here, found[2])
        return f"{found[1]}{posixpath.relpath(_place(name), posixpath.dirname(source) or '.')}"

    parts = _FENCE.split(markdown)
    return "".join(part if number % 2 else _LINK.sub(moved, part) for number, part in enumerate(parts))


def _outside(page: str, text: str) -> list[str]:
    """Return the files outside of docs/ that a page links to."""
    named = [_resolve(page, target) for _, target in _LINK.findall(_FENCE.sub("", text))]
    return [name for name in named if not name.startswith(("docs/", "../"))]


def _resolve(page: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(target)))


def _place(name: str) -> str:
    """Return where the site has a file of the repository."""
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    suffix = Path(name).suffix
    return f"repository/{name}" if suffix == ".md" or suffix in _PICTURES else f"repository/{name}.md"


def _name(place: str) -> str:
    """Return the file of the repository that a page of the site is made from."""
    return place.removeprefix("repository/") if place.startswith("repository/") else f"docs/{place}"


def _file(name: str, place: str, config: MkDocsConfig) -> File:
    path = ROOT / name
    if path.suffix == ".md" or path.suffix in _PICTURES:
        return File.generated(config, place, abs_src_path=str(path))
    text = path.read_text(encoding="utf-8")
    listing = (
        f"---\nsearch:\n  exclude: true\n---\n\n# {name}\n\n~~~~{_LANGUAGES.get(path.suffix, 'text')}\n{text}~~~~\n"
    )
    return File.generated(config, place, content=listing)
