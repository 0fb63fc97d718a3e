"""URLs of images: shown without secrets, compared by digest; and the errors of downloads."""

from __future__ import annotations

import hashlib
import re

from ingest.core.records import Reason

_SHOWN = 200  # characters of a URL or path in a report
# Scheme, slashes, authority and path; also of URLs that browsers accept and RFC 3986 does not: `http:\\\\user:pw@host`.
_PARTS = re.compile(r"\s*([a-z][a-z0-9+.-]*):([/\\]*)([^/\\?#]*)([^?#]*)", re.IGNORECASE)


class DownloadError(Exception):
    """A URL that gave no image; `detail` is one line without password and query."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class TransientError(DownloadError):
    """A download error that may pass; `wait_s` is how long the server asks to wait before the next try, or 0."""

    def __init__(self, reason: Reason, detail: str, wait_s: float = 0.0) -> None:
        super().__init__(reason, detail)
        self.wait_s = wait_s


def printable(text: str) -> str:
    """Return `text` for a report: printable, on one line, at most 200 characters."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def redact(url: str) -> str:
    """Return a URL as `scheme://host/path`, without user, password, query and fragment."""
    match = _PARTS.match(url)
    if match is None:
        return "the URL"
    return printable(f"{match[1].lower()}:{match[2]}{match[3].rpartition('@')[2]}{match[4]}")


def key(url: str) -> bytes:
    """Return a URL's SHA-256: it shows whether the URL has changed, and keeps no secret of its query."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).digest()


def host(url: str) -> str:
    """Return a URL's host in lower case, "" if it has none."""
    match = _PARTS.match(url)
    if match is None or (match[2] != "//" and match[1].lower() not in ("http", "https")):
        return ""
    name = match[3].rpartition("@")[2].lower()
    return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


def unusable_url(url: str) -> DownloadError:
    """Return the error for a URL that cannot be requested."""
    return DownloadError(Reason.DISALLOWED, f"{redact(url)}: not a usable URL; write http(s)://host/path")
