"""URLs of images: how they are shown and told apart, and the errors they end in."""

from __future__ import annotations

import hashlib
import re

from ingest.core.records import Reason

_SHOWN = 200  # characters of a URL or path in a report's line
# Scheme, slashes, authority and path, also of what browsers take and RFC 3986 does not: `http:\\\\user:password@host`.
_PARTS = re.compile(r"\s*([a-z][a-z0-9+.-]*):([/\\]*)([^/\\?#]*)([^?#]*)", re.IGNORECASE)


class DownloadError(Exception):
    """A URL that gave no picture; `detail` is one line that shows neither password nor query."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class TransientError(DownloadError):
    """One that may be gone at the next try, after `wait_s` seconds where the server named them."""

    def __init__(self, reason: Reason, detail: str, wait_s: float = 0.0) -> None:
        super().__init__(reason, detail)
        self.wait_s = wait_s


def plain(text: str) -> str:
    """Return `text` fit for a report: printable, on one line, at most 200 characters."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def redact(url: str) -> str:
    """Return a URL as it may be shown, `scheme://host/path`: no user, password, query or fragment."""
    match = _PARTS.match(url)
    if match is None:
        return "the URL"
    return plain(f"{match[1].lower()}:{match[2]}{match[3].rpartition('@')[2]}{match[4]}")


def key(url: str) -> bytes:
    """Return a URL's SHA-256: enough to notice a change, and no place for a secret that its query may hold."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).digest()


def host(url: str) -> str:
    """Return a URL's host in lower case, "" if it has none."""
    match = _PARTS.match(url)
    if match is None or (match[2] != "//" and match[1].lower() not in ("http", "https")):
        return ""
    name = match[3].rpartition("@")[2].lower()
    return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


def unusable_url(url: str) -> DownloadError:
    """Return the error for a URL that no request can be made of."""
    return DownloadError(Reason.DISALLOWED, f"{redact(url)}: not a usable URL; write http(s)://host/path")
