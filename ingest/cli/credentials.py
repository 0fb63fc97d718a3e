"""Keeps credentials out of the process list, messages and logs."""

from __future__ import annotations

import os
import sys
from itertools import islice

from ingest.cli import interrupts
from ingest.core.redaction import redact_text

TOKEN = "INGEST_TOKEN"  # noqa: S105  a name
_PUBLISHED = "Milvus"  # the default password of a new server: not a secret, and a word in every message
SERVE_TOKEN = "INGEST_SERVE_TOKEN"  # noqa: S105  a name
_FLAGS = {"--token": TOKEN, "--serve-token": SERVE_TOKEN}
_NAMES = (TOKEN, "MILVUS_TOKEN", SERVE_TOKEN)


def hide() -> None:
    """Restart the program with the credentials moved from the command line to the environment.

    Other users can read the command line, not the environment.
    """
    given = sys.argv[1:]
    words, found = split(given)
    if words == given or os.name == "nt":  # on Windows, only the same user sees the command line
        return
    head = sys.orig_argv[: len(sys.orig_argv) - len(given)]
    interrupts.hold()
    os.execve(sys.executable, [*head, *words], {**os.environ, **found})  # noqa: S606  no shell


def split(given: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the command line without --token, --serve-token and the user in --uri, and variables that replace them."""
    words: list[str] = []
    found: dict[str, str] = {}
    user = ""
    rest = iter(given)
    for word in rest:
        if word == "--":
            words += [word, *rest]
            break
        name, equals, value = word.partition("=")
        pair = [word] if equals or name not in {*_FLAGS, "--uri"} else [word, *islice(rest, 1)]
        value = value or pair[-1]
        if name in _FLAGS and (equals or len(pair) == 2):
            found[_FLAGS[name]] = value
        elif name == "--uri":
            bare, user = _without_user(value)
            words += [part.replace(value, bare) for part in pair]
        else:
            words += pair
    return words, {TOKEN: user, **found} if user else found


def redact(text: str) -> str:
    """Return a text without the credentials of the environment and those in URLs."""
    for name in _NAMES:
        whole = os.environ.get(name, "")
        for secret in (whole, whole.partition(":")[2]):
            if secret not in ("", _PUBLISHED):
                text = text.replace(secret, "…")
    return redact_text(text)


def _without_user(uri: str) -> tuple[str, str]:
    if "@" not in uri:
        return uri, ""
    from ingest.milvus.uris import split_user

    return split_user(uri)
