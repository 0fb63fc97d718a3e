"""URLs of images: compared by digests; their hosts; and the errors of downloads."""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

from ingest.core.records import Reason
from ingest.core.redaction import redact

_HALF = 16  # bytes of each of a key's two digests
# Scheme, slashes, authority and path; also of URLs that browsers accept and RFC 3986 does not: `http:\\\\user:pw@host`.
_PARTS = re.compile(r"\s*([a-z][a-z0-9+.-]*):([/\\]*)([^/\\?#]*)([^?#]*)", re.IGNORECASE)

# A host with a dot in it, or with a port, and a path: `www.example.com/a.jpg`, `//cdn.example.com/a.jpg`.
_HOST_AND_PATH = re.compile(
    r"(//)?((?:[^\s/\\:?#@.]+\.)+[^\s/\\:?#@.0-9]{2,}|[0-9]+(?:\.[0-9]+){3}|localhost)(:[0-9]+)?(/.*)", re.IGNORECASE
)


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


def key(url: str) -> bytes:
    """Return a URL's key, 32 bytes: a digest without user, query and fragment, and a digest of all of it.

    It shows whether the URL, or only what follows its path, has changed, and keeps no secret.
    """
    return _digest(_without_query(url)) + _digest(url)


def key_of_layout_2(shown: str, sha256: bytes) -> bytes:
    """Return the key of a URL of which only `shown`, without user and query, and the SHA-256 of all of it are known.

    If `shown` was shortened, the first half is zero, which no URL's is.
    """
    return (bytes(_HALF) if set("?…") & set(shown) else _digest(shown)) + sha256[:_HALF]


class UrlKey(StrEnum):
    """What of two URLs must be equal for them to name the same image: all, or all but query and fragment."""

    FULL = "full"
    PATH = "path"

    def matches(self, stored: bytes, url: str) -> bool:
        """Whether `stored` is the key of a URL that names the same image as `url`."""
        if stored[_HALF:] == _digest(url):
            return True
        return self is UrlKey.PATH and stored[:_HALF] == _digest(_without_query(url))

    def part(self, stored: bytes) -> bytes:
        """Return the part of a key that is the same for all URLs of an image."""
        return stored[:_HALF] if self is UrlKey.PATH else stored[_HALF:]


def same_path(one: bytes, other: bytes) -> bool:
    """Whether two keys are of URLs that differ at most in user, query and fragment."""
    return one[:_HALF] == other[:_HALF]


def host(url: str) -> str:
    """Return a URL's host in lower case, "" if it has none."""
    match = _PARTS.match(url)
    if match is None or (match[2] != "//" and match[1].lower() not in ("http", "https")):
        return ""
    name = match[3].rpartition("@")[2].lower()
    return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


def guess_url(text: str) -> tuple[str, bool]:
    """Return the URL that a text without a scheme seems to be, and whether it is nothing else; "" and False if none.

    It begins with a name that has a dot, a numeric address or `localhost`, and a path follows. Nothing else is meant if
    that is after `//` or begins with `www.`.
    """
    match = _HOST_AND_PATH.fullmatch(text)
    if match is None:
        return "", False
    slashes, name, port, rest = match.groups(default="")
    return f"https://{name}{port}{rest}", bool(slashes) or name.lower().startswith("www.")


def unusable_url(url: str) -> DownloadError:
    """Return the error for a URL that cannot be requested."""
    return DownloadError(Reason.DISALLOWED, f"{redact(url)}: not a usable URL; write http(s)://host/path")


def _without_query(url: str) -> str:
    match = _PARTS.match(url)
    return url if match is None else f"{match[1].lower()}:{match[2]}{match[3].rpartition('@')[2]}{match[4]}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:_HALF]
