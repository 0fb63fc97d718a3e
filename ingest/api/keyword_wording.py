"""Messages for callers from Python: flags become keywords, commands become functions.

All messages are written for the command line, where most of them are read. What leaves through the API passes here:
"raise --max-pixels" becomes "raise `max_pixels`", "pass --download-missing" becomes "pass download_missing=True",
"--engine ray" becomes "engine='ray'", and "ingest run --prune" becomes "ingest.run(..., prune=True)". A command that is
no function, such as "ingest store gc --grace", stays what it is: a line for a shell.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ingest.api import keywords

FUNCTIONS = ("run", "plan", "fetch", "embed", "export", "verify")
"""Commands that are functions of the same name."""
_COMMANDS_ONLY = ("doctor", "store", "rollback", "collections", "status", "evaluate", "serve")
_FLAG = r"--[a-z][a-z-]*[a-z]"
# What may follow a flag as its value: a choice, a number, a share, a place, or the name of one in capitals.
_VALUE = r"(?: (?:[\w./:~-]*[/\\]\S*?|[A-Z]{2,}|\d[\w.,]*%?|[a-z]+\d*)(?=[\s;:,)]|\.?$))?"
_CALL = re.compile(rf"\bingest ({'|'.join(FUNCTIONS)})\b((?: {_FLAG})*)")
_SHELL = re.compile(rf"\bingest (?:{'|'.join(_COMMANDS_ONLY)})\b(?: (?:[a-z]+(?= --)|{_FLAG}))*")
_ONE = re.compile(rf"({_FLAG})({_VALUE})")
_PHRASES = (
    (re.compile(r"\brun (?:the|this) same command again\b"), "call it again"),
    (re.compile(r"--details lists what a run would change"), "error.result.changes() yields what a run would change"),
)


def in_python(message: str) -> str:
    """Return a message with keywords in place of flags, and functions in place of commands."""
    said, at = "", 0
    for shell in _SHELL.finditer(message):
        said += _in_python(message[at : shell.start()]) + shell.group()
        at = shell.end()
    return said + _in_python(message[at:])


def _in_python(text: str) -> str:
    for phrase, instead in _PHRASES:
        text = phrase.sub(instead, text)
    text = _CALL.sub(_call, text)
    return _ONE.sub(lambda found: _keyword(found[1], found[2]), text)


def _call(found: re.Match[str]) -> str:
    given = [_keyword(flag, "").strip("`") for flag in found[2].split()]
    if any(name.startswith("--") for name in given):  # it is no call: a line for a shell
        return found[0]
    return f"ingest.{found[1]}({', '.join(['...', *given])})"


def _keyword(flag: str, value: str) -> str:  # noqa: PLR0911  one case a line
    """Return `name=value` if what follows the flag is its value, else the name in backticks.

    Both stay as they were if it is no keyword.
    """
    name, word = flag.removeprefix("--").replace("-", "_"), value.strip()
    hints = _hints()
    if name.removeprefix("no_") in hints and name not in hints:
        return f"{name.removeprefix('no_')}=False{value}"
    if name not in hints:
        return flag + value
    if hints[name] is bool:
        return f"{name}=True{value}"
    if word in _choices(hints[name]):
        return f"{name}={word!r}"
    if re.fullmatch(r"\d+(?:\.\d+)?", word) or re.fullmatch(r"[A-Z]{2,}", word):
        return f"{name}={word}"
    if re.fullmatch(r"\d[\w.,]*%?|[\w./:~-]*[/\\]\S*", word):
        return f"{name}={word!r}"
    return f"`{name}`{value}"


@cache
def _hints() -> dict[str, Any]:
    kinds = [kind for name, kind in vars(keywords).items() if name.endswith("Keywords")]
    found = {name: hint for kind in kinds for name, hint in get_type_hints(kind, include_extras=True).items()}
    return found | {"catalog": keywords.Place, "image": str, "filter": str, "limit": int, "uri": keywords.Place}


def _choices(hint: Any) -> set[str]:
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    return {choice for part in get_args(hint) for choice in _choices(part)}
