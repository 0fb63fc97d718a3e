"""URLs and paths for messages, without passwords, queries and tokens: the one place where these are cut.

A URL in a catalog need not be valid, so that nobody can say for certain where its password ends. What is shown is no
secret in any reading: not in a browser's, for which the user ends at the last `@` before the path, and not in the
reading of the person who wrote `http://user:pa/ss@host` and meant everything before the last `@`.
"""

from __future__ import annotations

import re

_SHOWN = 200  # characters of a URL or path in a report
_CUT = "…"

# A scheme has two letters at least: `C:` is a drive. Without slashes only those that URLs begin with: in `me:pw@host`,
# `me` is none.
_START = re.compile(
    r"\s*(?:([a-z][a-z0-9+.-]+):([/\\]+)|(https?|ftps?|file|data|blob|s3|gs):()|([/\\]{2,}))", re.IGNORECASE
)
_DRIVE = re.compile(r"\s*[a-z]:[/\\]", re.IGNORECASE)
# `@` and `:`, also percent-encoded, and in the wide forms that IDNA maps to them.
_AT = re.compile(r"[@\uff20\ufe6b]|%(?:25)*40")
_COLON = re.compile(r"[:\uff1a]|%(?:25)*3a", re.IGNORECASE)
_QUERY = re.compile(r"[?#]")
_PATH = re.compile(r"[/\\]")
_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]{0,5})?")

_EQUALS = r"=|\uff1d|%(?:25)*3d"
_NAMED_SECRET = re.compile(
    r"([\w.$~-]{0,64}(?:token|secret|pass|pwd|sig|key|auth|cred|sess|sid|jwt|hmac|hash|sas|policy|ticket|code|api|access)"
    rf"[\w.$~-]{{0,64}}(?:{_EQUALS}))[^&;?#\s]+",
    re.IGNORECASE,
)
_LONG_VALUE = re.compile(rf"((?:{_EQUALS}))[^/\\?#&;,\s{_CUT}]{{20,}}", re.IGNORECASE)  # a digest or a token

_WORD = re.compile(r"\S+")
_MARK_OF_URL = re.compile(r"[/\\]{2}|[@\uff20\ufe6b]|%40")
_END_OF_CLAUSE = ":;,.!)]'\""
_EXAMINED = 20 * _SHOWN
"""Characters of what is shown in which parameters are looked for: cells of a catalog may be millions long."""


def printable(text: str) -> str:
    """Return `text` for a report: printable, on one line, at most 200 characters."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + _CUT


def redact(place: str) -> str:
    """Return a URL as `scheme://host/path`, or a path, for a report: without user, password, query and tokens.

    What could belong to a user or a password becomes `…`. A path stays as it is, unless it looks like a URL.
    """
    start = _START.match(place)
    if start is None:
        return printable(_cut_parameters(_redact_path(place)))
    scheme, slashes = (start[1] or start[3] or "").lower(), start[2] or start[5] or ""
    begin = f"{scheme}:{slashes}" if scheme else slashes
    return printable(begin + _cut_parameters(_redact_authority(place[start.end() :])))


def redact_text(text: str) -> str:
    """Return a message with the URLs in it redacted; for messages that quote what a catalog or a library says."""
    return _WORD.sub(_redact_word, text)


def _redact_authority(rest: str) -> str:
    """Return what follows a URL's slashes: host, port if it is one, and path."""
    shown, query = _split(rest, _QUERY)
    if _AT.search(query):
        return _CUT
    authority, path = _split(shown, _PATH)
    if _AT.search(path):
        return _CUT + _after_last_at(path)
    host = _after_last_at(authority)
    if not _PORT.fullmatch(host):
        host = f"{host.partition(':')[0]}:{_CUT}"
    return host + path


def _redact_path(path: str) -> str:
    """Return a path; one with a colon before its last `@` is a URL without its scheme, or with something before it."""
    drive = _DRIVE.match(path)
    begin, rest = (drive[0], path[drive.end() :]) if drive else ("", path)
    tail = _after_last_at(rest)
    if _COLON.search(rest[: len(rest) - len(tail)]):
        return begin + _CUT + _split(tail, _QUERY)[0]
    return _split(path, _QUERY)[0] if "://" in path else path


def _redact_word(match: re.Match[str]) -> str:
    if _MARK_OF_URL.search(match[0]) is None:
        return match[0]
    url = match[0].rstrip(_END_OF_CLAUSE)
    return redact(url) + match[0][len(url) :]


def _cut_parameters(text: str) -> str:
    """Return a path without the values of parameters that look like secrets: `;token=…`, `/sig=…`."""
    shown = _LONG_VALUE.sub(rf"\1{_CUT}", _NAMED_SECRET.sub(rf"\1{_CUT}", text[:_EXAMINED]))
    return shown + _CUT * (len(text) > _EXAMINED)


def _after_last_at(text: str) -> str:
    ends = [match.end() for match in _AT.finditer(text)]
    return text[ends[-1] :] if ends else text


def _split(text: str, separator: re.Pattern[str]) -> tuple[str, str]:
    """Return the text before the first separator, and the rest with it."""
    match = separator.search(text)
    return (text, "") if match is None else (text[: match.start()], text[match.start() :])
