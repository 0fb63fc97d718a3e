"""Words: plain English, one word for one thing, and the old words that live on in formats."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "ingest").rglob("*.py"))
PAGE = [path for path in sorted((ROOT / "ingest" / "server" / "static").iterdir()) if path.suffix in {".html", ".js"}]

BANNED = re.compile(
    r"for want of|to be had\b|\bway out\b|\banew\b|\bheals?\b|\bmended\b|INTEGER RANGE|a bug of ours",
    re.IGNORECASE,
)
"""Phrases that a reader has to read twice; each was here."""

KEPT = re.compile(
    r"--(?:no-)?pictures|ingest\[pictures\]|pictures_per_second|[\"'`]pictures?[\"'`]|\bpicture/s\b|/picture\b|"
    r"called picture|parts are picture and|FROM picture|ON picture|INTO picture|TABLE picture|UPDATE picture|"
    r"product picture fetcher|\{[^{}]*\}",
)
"""Where the word `picture` lives on: flags, an extra, JSON keys, form fields, a path of the API, a table, the
User-Agent. In prose it is `image`."""

OLD_NAMES = frozenset({
    "Border", "Clock", "Crew", "Difference", "Differing", "Fate", "Line", "Opened", "Picture", "Place", "Removal",
    "RunFolder", "Served", "Vectors", "Wanted", "Wish", "ahead", "heals", "parked", "pmap", "spread",
})  # fmt: skip
"""Names of classes and functions that have plainer ones now."""
PARTICIPLES = frozenset({"batched", "embed"})
"""The first is the name that Python's itertools has for it; the second is no participle."""


def words(path: Path) -> list[tuple[int, str]]:
    """Return the comments and strings of a module, each with its line."""
    with io.StringIO(path.read_text(encoding="utf-8")) as lines:
        tokens = list(tokenize.generate_tokens(lines.readline))
    spoken = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    return [(token.start[0], token.string) for token in tokens if token.type in spoken]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_speaks_plainly_and_calls_an_image_an_image(path: Path) -> None:
    riddles = [f"{path.name}:{line}: {found.group()}" for line, text in words(path) if (found := BANNED.search(text))]
    images = [f"{path.name}:{line}" for line, text in words(path) if re.search(r"\bpicture", KEPT.sub("", text))]

    assert (riddles, images) == ([], [])


@pytest.mark.parametrize("path", PAGE, ids=lambda path: path.name)
def test_the_page_calls_an_image_an_image(path: Path) -> None:
    shown = re.findall(r">[^<>{}]*\bpictures?\b[^<>{}]*<", path.read_text(encoding="utf-8"))

    assert shown == []


API_TYPES = "schemas.py"
"""Its classes bear the names that the OpenAPI document has for them."""


def definitions(*, but: str = "") -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the classes and functions at the top of each module."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in FILES if path.name != but]
    return [node for tree in trees for node in tree.body if isinstance(node, kinds)]


def test_no_old_name_is_left_and_no_two_public_classes_share_one() -> None:
    found = (node for node in definitions(but=API_TYPES) if isinstance(node, ast.ClassDef))
    classes = Counter(node.name for node in found if not node.name.startswith("_"))

    assert {node.name for node in definitions()} & OLD_NAMES == set()
    assert [name for name, count in classes.items() if count > 1] == []


def test_no_public_function_is_named_by_a_participle() -> None:
    functions = {node.name for node in definitions() if not isinstance(node, ast.ClassDef)}

    assert {name for name in functions if re.fullmatch(r"[a-z]+ed", name)} <= PARTICIPLES
