"""Which Milvus errors are transient, and what to do about the others.

Codes are Milvus' own (https://github.com/milvus-io/milvus/blob/master/pkg/util/merr/errors.go). A timeout is a bare
`grpc.RpcError`, not pymilvus' exception; why a connection failed is in the exception's cause.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

_TRANSIENT_CODES = frozenset({
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
    *(604, 605),  # a segment could not be loaded, perhaps for lack of memory; the server tries another node
    *range(901, 906),  # a node is away
    2200,  # what was found was compacted before its fields were read
    2317,  # a snapshot delays a compaction
})  # fmt: skip
"""Also those of older servers, which do not say which errors are transient; newer ones do (`retriable`)."""
_WRITES_DENIED_CODES = frozenset({3, 7, 9})
_NO_COLLECTION, _NO_DATABASE = 100, 800
_NO_COLLECTION_WORDS = "can't find collection"
"""What Milvus 2.5 and 2.6 say about a missing collection, with code 0 (internal/proxy/service_provider.go)."""
_TRANSIENT_STATUS = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"})
_TRANSIENT_WORDS = re.compile(
    r"not ready|not healthy|not serving|recovering|starting|initializing|quota exceeded|rate limit|no available shard|"
    r"not available|node (is )?offline|node not (match|found)|session not found|"
    r"connection refused|transport is closing|context (canceled|deadline exceeded)|"
    r"SegmentIDAllocator failRemainRequest",  # a proxy of 2.3.5 whose data coordinator is coming back
    re.IGNORECASE,
)
_TIMEOUT_WORDS = re.compile(r"deadline exceeded|retry timeout|wait for \w+ ?\w* timeout", re.IGNORECASE)
_UNAUTHORIZED_WORDS = re.compile(r"auth|permission|privilege", re.IGNORECASE)
_TOO_LARGE_WORDS = re.compile(
    r"maxOutputSize|results exceed the (limit|max)|(received|send) message larger than max", re.IGNORECASE
)
"""An answer above quotaAndLimits.limits.maxOutputSize, as proxies, query nodes and segcore word it, or above gRPC's."""
_DISK_WORDS = re.compile("|".join(re.escape(os.strerror(code)) for code in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)))
"""What Milvus Lite says, with whatever code, if its file cannot be written: the system's own words."""
_NOISE = re.compile(r"failed to connect to all addresses; last error: (?:[A-Z_]+: )?|(?:ipv[46]|unix):\S*: ")
_UNAUTHORIZED_STATUS = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
_TRUST = "name a file of the authority that signed it: export GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=ca.pem"
_LONGEST = 300


def is_transient(error: BaseException) -> bool:
    """Return whether trying again may help."""
    if is_too_large(error):
        return False
    status = _status(error)
    if status in _TRANSIENT_STATUS or _code(error) in _TRANSIENT_CODES or getattr(error, "retriable", False):
        return True
    return _TRANSIENT_WORDS.search(str(error)) is not None or is_timeout(error)


def is_too_large(error: BaseException | None) -> bool:
    """Return whether the server refuses because its answer would be too large."""
    return error is not None and _TOO_LARGE_WORDS.search(str(error)) is not None


def is_unauthorized(error: BaseException | None) -> bool:
    """Return whether the server refuses because the user may not do this."""
    if error is None:
        return False
    return _status(error) in _UNAUTHORIZED_STATUS or _UNAUTHORIZED_WORDS.search(first_line(error)) is not None


def disk_fault(error: BaseException) -> str:
    """Return why the disk under Milvus Lite cannot be written, in the system's words; "" if that is not the fault."""
    found = _DISK_WORDS.search(f"{_text(error)} {error.__cause__}")
    return found.group() if found else ""


def is_timeout(error: BaseException) -> bool:
    """Return whether a call ran out of time, because the server is away or because it is still working."""
    return _status(error) == "DEADLINE_EXCEEDED" or _TIMEOUT_WORDS.search(_text(error)) is not None


def first_line(error: BaseException) -> str:
    """Return what happened, in one line."""
    lines = _text(error).strip().splitlines() or [type(error).__name__]
    # A server that gave up after several tries sends its stack first and the last try's error at the end.
    said = re.split(r"attempt #\d+: ", lines[-1])[-1] if "stack trace" in lines[0] else lines[0]
    return said[:_LONGEST]


def explain(error: BaseException, *, connecting: bool, tls: bool) -> str:
    """Return what happened and what to do about it, in one line; `tls` is whether the address is https://."""
    cause = error.__cause__
    if connecting and cause is not None and _status(cause):  # pymilvus itself says only that it has no connection
        return _explain_refused_connection(_NOISE.sub("", first_line(cause)), _status(cause), tls=tls)
    text = first_line(error)
    advice = _advice(text, error)
    return f"{text}; {advice}" if advice else text


def advise_start() -> str:
    """Return how to start a server from the current folder, if it has what that takes, and how to look for one."""
    compose = "docker compose up -d --wait, or " if Path("docker-compose.yml").exists() else ""
    return f"{compose}ingest doctor"


def _advice(text: str, error: BaseException) -> str:
    """Return what to do about an error, "" if there is nothing to say."""
    code, low = _code(error), text.lower()
    cases = (
        (_is_missing_collection(error), "was it dropped during this run? Run again: it is filled from the store"),
        (
            code in _WRITES_DENIED_CODES or "quota exceeded" in low,
            "the server denies writes: give it more memory or disk, or raise its quota, and run again",
        ),
        (
            is_timeout(error),
            "the server does not answer: see its log, run ingest doctor, or wait longer with --max-wait",
        ),
        (
            "unavailable" in low or "fail connecting" in low,
            f"is it running? {advise_start()}",
        ),
        (
            is_unauthorized(error),
            "check MILVUS_TOKEN (user:password, or an API key)",
        ),
        (is_too_large(error), "ask for fewer at once, for example with a smaller --limit"),
        (code == _NO_DATABASE or "database not found" in low, "check --db-name"),
    )
    return next((advice for applies, advice in cases if applies), "")


def _explain_refused_connection(text: str, status: str, *, tls: bool) -> str:
    untrusted = text.partition("CERTIFICATE_VERIFY_FAILED: ")[2].removesuffix(": OK")
    cases = (
        (status in _UNAUTHORIZED_STATUS, f"{text}; set MILVUS_TOKEN to user:password, or to an API key"),
        (
            "CERTIFICATE_VERIFY_FAILED" in text,
            f"its certificate is not trusted ({untrusted}); {_TRUST}",
        ),
        ("Hostname Verification" in text, "its certificate is for another name; use that name in --uri"),
        ("WRONG_VERSION_NUMBER" in text, "it does not speak TLS, as https:// requires; use http://"),
        ("Socket closed" in text and not tls, f"{text}; does it speak TLS? Then use https://"),
        ("resolving" in text, f"{text}; check the name in --uri"),
    )
    not_running = f"{text}; is it running? {advise_start()}"
    return next((explanation for applies, explanation in cases if applies), not_running)


def _status(error: BaseException) -> str:
    """Return the name of the gRPC status, of gRPC's own error or of one that pymilvus wrapped; else ""."""
    code = getattr(error, "code", None)
    return str(getattr(code() if callable(code) else code, "name", ""))


def _code(error: BaseException) -> int | None:
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else None


def _is_missing_collection(error: BaseException) -> bool:
    return _code(error) == _NO_COLLECTION or (_code(error) == 0 and _NO_COLLECTION_WORDS in _text(error))


def _text(error: BaseException) -> str:
    details = getattr(error, "details", None)
    return str(getattr(error, "message", "") or (details() if callable(details) else "") or error)
