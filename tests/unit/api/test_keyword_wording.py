"""Messages for callers from Python name keywords and functions, not flags and commands."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ingest
from ingest.api import functions, loaded_encoder, products
from ingest.api.keyword_wording import in_python

PACKAGE = Path(ingest.__file__).parent
HERE = ("cli", "api", "server")
"""Packages whose texts do not pass through `in_python`."""
KEYWORDS = {
    name
    for function in (functions.RUN, functions.VERIFY, functions.EMBED, products.CONNECT, loaded_encoder.ENCODER)
    for name in function.hints
}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("raise --max-pixels", "raise `max_pixels`"),
        ("run again with --download-missing", "run again with download_missing=True"),
        ("leave them out with --no-exports, and", "leave them out with exports=False, and"),
        ("--engine ray: Ray is not installed", "engine='ray': Ray is not installed"),
        ("pass --engine threads, or leave --load out", "pass engine='threads', or leave `load` out"),
        ("more than --max-skipped 5% allows", "more than max_skipped='5%' allows"),
        ("more than --max-skipped 50 allows; the", "more than max_skipped=50 allows; the"),
        ("less than --min-side 200; provide", "less than min_side=200; provide"),
        ("pass --schema FILE", "pass schema=FILE"),
        ("--model takes a hub id", "`model` takes a hub id"),
        ("or try the sample: --model data/models/sample-clip", "or try the sample: model='data/models/sample-clip'"),
        ("--prune with --sample: products", "prune=True with `sample`: products"),
        ("create it with: ingest run", "create it with: ingest.run(...)"),
        ("write it with: ingest verify --repair", "write it with: ingest.verify(..., repair=True)"),
        ("ingest run --prune deletes them", "ingest.run(..., prune=True) deletes them"),
        ("or ingest doctor", "or ingest doctor"),
        ("ingest run --help-all lists them", "ingest run --help-all lists them"),
        ("with ingest rollback --to", "with ingest rollback --to"),
        ("ingest store gc --grace 0s keeps; pass --data", "ingest store gc --grace 0s keeps; pass `data`"),
        ("docker compose up -d --wait, or", "docker compose up -d --wait, or"),
        ("run the same command again to go on", "call it again to go on"),
        ("rows were not written by ingest and stay", "rows were not written by ingest and stay"),
        ("--labels is no keyword", "--labels is no keyword"),
        (
            "allows; --details lists what a run would change",
            "allows; error.result.changes() yields what a run would change",
        ),
    ],
)
def test_flags_become_keywords_and_commands_functions(said, shown):
    assert in_python(said) == shown
    assert in_python(shown) == shown


def texts() -> list[str]:
    """Return the texts in the code below the API, those of one message joined."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] in HERE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "7" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


OF_COMMANDS = {"grace", "max-unseen", "max-drop", "also", "to", "labels", "backend", "wait", "help-all"}
"""Flags of commands that are no functions, and of docker: what is said of them is for a shell."""
STYLE = re.compile(r"^:root", re.MULTILINE)


def test_no_message_in_the_code_keeps_a_flag_that_a_caller_cannot_give():
    kept = {}
    for text in texts():
        if not STYLE.search(text):
            flags = re.findall(r"--([a-z][a-z-]*[a-z])", in_python(text))
            kept |= dict.fromkeys(flags, text)
    assert set(kept) <= OF_COMMANDS, kept
    assert {flag.replace("-", "_") for flag in OF_COMMANDS} & KEYWORDS == set()


def test_no_message_in_the_code_keeps_the_command_of_a_function():
    command = re.compile(r"\bingest (?:run|plan|fetch|embed|export|verify)\b(?! --help)")
    assert [text for text in texts() if command.search(in_python(text))] == []
