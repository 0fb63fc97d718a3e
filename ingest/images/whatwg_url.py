"""Parses http and https URLs as browsers do, by the WHATWG URL Standard (https://url.spec.whatwg.org).

A URL that is valid by RFC 3986 keeps every byte of its path and query, because signatures are made over them; only dot
segments are resolved. Invalid characters are percent-encoded, also a `%` that starts no escape. Stricter than the
standard: `http:///a.jpg`, and `http:a.jpg` in a catalog, are refused, because what follows is a path and not a host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from urllib.parse import unquote_to_bytes

import idna

from ingest.core.records import Reason
from ingest.core.redaction import redact
from ingest.images.urls import DownloadError, unusable_url

_PORTS = {"http": 80, "https": 443}
_C0_OR_SPACE = "".join(map(chr, range(0x21)))
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(.*)", re.IGNORECASE | re.DOTALL)
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]*))?")
_INVALID_IN_HOST = re.compile(r"[\x00-\x20#%/:<>?@\[\\\]^|\x7f]")  # 3.5, forbidden domain code points
# RFC 3986, 3.3 and 3.4.
_INVALID_IN_PATH = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/%-]+")
_INVALID_IN_QUERY = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/?%-]+")


@dataclass(frozen=True, slots=True)
class Url:
    """A URL that can be requested, in ASCII; `port` is None for the scheme's default.

    `target` is the path and query as they are sent; `userinfo` is percent-encoded, "" if there is none.
    """

    scheme: str
    userinfo: str
    host: str
    port: int | None
    target: str

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port. Secrets are sent to their own origin only."""
        return self.scheme, self.host, self.port or _PORTS[self.scheme]

    def __str__(self) -> str:
        """Return the URL without user and password."""
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.target}"


def parse(text: str, base: Url | None = None) -> Url:
    """Return the URL that a browser would request; with a `base`, `text` may be a relative reference.

    Bytes that are not UTF-8 are expected as surrogates (PEP 383) and percent-encoded as they are. Raises DownloadError,
    DISALLOWED, for other schemes and for a missing or invalid host.
    """
    try:
        return _parse(text, base)
    except ValueError:
        raise unusable_url(text) from None


def to_ascii(name: str) -> str:
    """Return a host name in the form that `parse` gives it; an invalid name in lower case."""
    try:
        return _ascii_host(name)
    except ValueError:
        return name.lower()


def _parse(text: str, base: Url | None) -> Url:
    reference = re.sub(r"[\t\n\r]", "", text.strip(_C0_OR_SPACE)).partition("#")[0]
    rest, mark, query = reference.partition("?")
    query = mark + _percent_encode(query, _INVALID_IN_QUERY)
    scheme = None
    if match := _SCHEME.fullmatch(rest):
        scheme, rest = match[1].lower(), match[2]
        if scheme not in _PORTS:
            raise DownloadError(Reason.DISALLOWED, f"{redact(text)}: only http and https are fetched")
    rest = rest.replace("\\", "/")
    slashes = len(rest) - len(rest.lstrip("/"))
    if slashes > 2 or (base is None and (scheme is None or slashes == 0)):
        raise ValueError(text)
    if base is None or slashes == 2 or scheme not in (None, base.scheme):
        return _absolute(scheme or (base.scheme if base else ""), rest[slashes:], query)
    path, old_mark, old_query = base.target.partition("?")
    if not rest:
        return replace(base, target=path + (query or old_mark + old_query))
    if slashes == 0:
        rest = path[: path.rindex("/") + 1] + rest
    return replace(base, target=_path(rest) + query)


def _absolute(scheme: str, rest: str, query: str) -> Url:
    authority, slash, path = rest.partition("/")
    userinfo, _, name = authority.rpartition("@")
    match = _HOST_AND_PORT.fullmatch(name)
    if match is None:
        raise ValueError(name)
    port = int(match[2] or _PORTS[scheme])
    if not 0 < port < 65_536:
        raise ValueError(port)
    return Url(
        scheme,
        _percent_encode(userinfo, _INVALID_IN_PATH),
        _ascii_host(match[1]),
        port if port != _PORTS[scheme] else None,
        _path(slash + path) + query,
    )


def _path(path: str) -> str:
    """Return an absolute path without dot segments, percent-encoded."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for number, segment in enumerate(segments, 1):
        dots = segment.lower().replace("%2e", ".")
        if dots not in (".", ".."):
            kept.append(segment)
            continue
        if dots == "..":
            del kept[-1:]
        if number == len(segments):
            kept.append("")
    return "/" + _percent_encode("/".join(kept), _INVALID_IN_PATH)


def _percent_encode(text: str, invalid: re.Pattern[str]) -> str:
    return invalid.sub(lambda match: "".join(map("%{:02X}".format, match[0].encode("utf-8", "surrogateescape"))), text)


def _ascii_host(name: str) -> str:
    """Return a host name in lower case, by IDNA if it is not ASCII (UTS 46, not transitional).

    Raises ValueError for an invalid name. Labels are not checked against IDNA 2008, because browsers do not either: it
    forbids emoji.
    """
    if name.startswith("["):
        IPv6Address(name[1:-1].partition("%")[0])
        return name.lower()
    host = unquote_to_bytes(name.encode("utf-8", "surrogateescape")).decode()
    if host.isascii():
        host = host.lower()
    else:
        host = ".".join(map(_ascii_label, idna.uts46_remap(host, std3_rules=False, transitional=False).split(".")))
    if not host or _INVALID_IN_HOST.search(host):
        raise ValueError(host)
    return host


def _ascii_label(label: str) -> str:
    return label if label.isascii() else f"xn--{label.encode('punycode').decode()}"
