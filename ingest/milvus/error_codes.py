"""What may go wrong with Milvus: which troubles pass by themselves, and what to say of those that do not.

Codes are Milvus' own (https://github.com/milvus-io/milvus/blob/master/pkg/util/merr/errors.go); a timeout comes
as a bare `grpc.RpcError`, not as pymilvus' exception, and pymilvus hides why a connection failed in the cause.
"""

from __future__ import annotations

import re

_PASSING_CODES = frozenset({
    2,  # service unavailable, connection lost
    3,  # memory quota: writes denied for now
    4,  # request limit
    7,  # disk quota: writes denied for now
    8,  # rate limit
    9,  # writes denied for now, for any quota
    12,  # too few resources for now
    101,  # collection not loaded, as after a server's restart
    103,  # collection not fully loaded
    106,  # the same, of newer servers
    110,  # a node does not have the newest schema yet
    202,  # partition not fully loaded
    305,  # a resource group has no node for now
    *(400, 401),  # no replica, or none that answers
    *(500, 501, 503),  # no channel, or none that answers: a node is coming back
    *(505, 507),  # a channel stands still, or has moved to another node
    *(601, 602),  # a segment is not loaded yet
    *(604, 605),  # a segment could not be loaded, as for want of memory; the server tries again on another node
    *range(901, 906),  # a node is away
    2200,  # what was found was compacted before its fields were read
    2317,  # a snapshot holds a compaction up
})  # fmt: skip
"""Those of older servers too, which do not say which of their errors pass; newer ones say so (`retriable`)."""
_DENIED = frozenset({3, 7, 9})
_NO_COLLECTION, _NO_DATABASE = 100, 800
_UNDESCRIBABLE = "can't find collection"
"""What Milvus 2.5 and 2.6 say of a missing collection, with the code 0 (internal/proxy/service_provider.go)."""
_PASSING_STATUS = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"})
_PASSING_WORDS = re.compile(
    r"not ready|not healthy|not serving|recovering|starting|initializing|quota exceeded|rate limit|no available shard|"
    r"not available|node (is )?offline|node not (match|found)|session not found|"
    r"connection refused|transport is closing|context (canceled|deadline exceeded)",
    re.IGNORECASE,
)
_UNANSWERED_WORDS = re.compile(r"deadline exceeded|retry timeout|wait for \w+ ?\w* timeout", re.IGNORECASE)
_REFUSED_WORDS = re.compile(r"auth|permission|privilege", re.IGNORECASE)
_TOO_LARGE_WORDS = re.compile(
    r"maxOutputSize|results exceed the (limit|max)|(received|send) message larger than max", re.IGNORECASE
)
"""An answer over quotaAndLimits.limits.maxOutputSize, as proxies, query nodes and segcore say it, or over gRPC's."""
_NOISE = re.compile(r"failed to connect to all addresses; last error: (?:[A-Z_]+: )?|(?:ipv[46]|unix):\S*: ")
_REFUSED_STATUS = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
_LONGEST = 300


def is_transient(error: BaseException) -> bool:
    """Tell whether trying again may help."""
    if is_too_large(error):
        return False
    status = _status(error)
    if status in _PASSING_STATUS or _code(error) in _PASSING_CODES or getattr(error, "retriable", False):
        return True
    return _PASSING_WORDS.search(str(error)) is not None or is_timeout(error)


def is_too_large(error: BaseException | None) -> bool:
    """Tell whether the server refuses to answer with as much as was asked for."""
    return error is not None and _TOO_LARGE_WORDS.search(str(error)) is not None


def is_timeout(error: BaseException) -> bool:
    """Tell whether the time for a call ran out, be it that the server is away or that it is still at work."""
    return _status(error) == "DEADLINE_EXCEEDED" or _UNANSWERED_WORDS.search(_text(error)) is not None


def first_line(error: BaseException) -> str:
    """Return what happened, in one line."""
    lines = _text(error).strip().splitlines() or [type(error).__name__]
    # A server that gave up after several tries sends its stack first, and what the last try met at the end.
    said = re.split(r"attempt #\d+: ", lines[-1])[-1] if "stack trace" in lines[0] else lines[0]
    return said[:_LONGEST]


def explain(error: BaseException, *, connecting: bool, tls: bool) -> str:
    """Return what happened and what to do about it, in one line; `tls` is whether https:// was asked for."""
    cause = error.__cause__
    if connecting and cause is not None and _status(cause):  # of which pymilvus tells only that there is none
        return _unconnected(_NOISE.sub("", first_line(cause)), _status(cause), tls=tls)
    text = first_line(error)
    way_out = _way_out(text, error)
    return f"{text}; {way_out}" if way_out else text


def _way_out(text: str, error: BaseException) -> str:
    code, low = _code(error), text.lower()
    ways = {
        "was it dropped while this ran? Run again: it is filled anew from the store": _is_missing(error),
        "the server denies writes: give it more memory or disk, or raise its quota, and run again": (
            code in _DENIED or "quota exceeded" in low
        ),
        "it gives no answer: see its log, ask ingest doctor, or wait longer with --max-wait": is_timeout(error),
        "is it running? docker compose up -d --wait, or ingest doctor": "unavailable" in low
        or "fail connecting" in low,
        "check MILVUS_TOKEN (user:password, or an API key)": (
            _status(error) in _REFUSED_STATUS or _REFUSED_WORDS.search(text) is not None
        ),
        "ask for fewer at once, as with a smaller --limit": is_too_large(error),
        "check --db-name": code == _NO_DATABASE or "database not found" in low,
    }
    return next((way for way, taken in ways.items() if taken), "")


def _unconnected(text: str, status: str, *, tls: bool) -> str:
    if status in _REFUSED_STATUS:
        return f"{text}; set MILVUS_TOKEN to user:password, or to an API key"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        why = text.partition("CERTIFICATE_VERIFY_FAILED: ")[2].removesuffix(": OK")
        return (
            f"its certificate is not trusted ({why}); name a file of the authority that signed it in the environment: "
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=ca.pem"
        )
    known = {
        "its certificate is for another name; put that name into --uri": "Hostname Verification" in text,
        "it does not speak TLS, as https:// asks; use http://": "WRONG_VERSION_NUMBER" in text,
        f"{text}; does it speak TLS? Then use https://": "Socket closed" in text and not tls,
        f"{text}; check the name in --uri": "resolving" in text,
    }
    running = f"{text}; is it running? docker compose up -d --wait, or ingest doctor"
    return next((said for said, fits in known.items() if fits), running)


def _status(error: BaseException) -> str:
    """Return the name of gRPC's status, of an error of its own or of one that pymilvus wrapped; else ""."""
    code = getattr(error, "code", None)
    return str(getattr(code() if callable(code) else code, "name", ""))


def _code(error: BaseException) -> int | None:
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else None


def _is_missing(error: BaseException) -> bool:
    """Tell whether there is no such collection."""
    return _code(error) == _NO_COLLECTION or (_code(error) == 0 and _UNDESCRIBABLE in _text(error))


def _text(error: BaseException) -> str:
    details = getattr(error, "details", None)
    return str(getattr(error, "message", "") or (details() if callable(details) else "") or error)
