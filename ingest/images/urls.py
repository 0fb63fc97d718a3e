"""URLs of pictures: which are fetched at all, how they are shown, and the errors they end in."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from ingest.records import Reason

_SHOWN = 200  # characters of a URL or path in a report's line


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


def shown(url: str) -> str:
    """Return a URL as it may be shown, `scheme://host/path`: no user, password, query or fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the URL"
    host = parts.netloc.rpartition("@")[2]
    return plain(f"{parts.scheme}://{host}{parts.path}")


def key(url: str) -> bytes:
    """Return a URL's SHA-256: enough to notice a change, and no place for a secret that its query may hold."""
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).digest()


def host(url: str) -> str:
    """Return a URL's host in lower case, "" where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def check(url: str) -> None:
    """Raise DownloadError, DISALLOWED, for what no request is sent to, from a catalog or a redirect."""
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise unusable(url)
    if parts.scheme not in ("http", "https"):
        raise DownloadError(Reason.DISALLOWED, f"{shown(url)}: only http and https are fetched")


def unusable(url: str) -> DownloadError:
    """Return the error for a URL that no request can be made of."""
    return DownloadError(Reason.DISALLOWED, f"{shown(url)}: not a usable URL; write http(s)://host/path")
