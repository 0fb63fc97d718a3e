"""Remote file systems (fsspec) with bounded retries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from ingest.core.errors import ConfigError, IngestError, StorageError
from ingest.runtime.atomic_files import reason

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_TRIES = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_MISSING = (404, 410)  # HTTP statuses for a missing file
_S3 = ("s3", "s3a")
_CONNECT_S, _READ_S = 10, 60  # timeouts for connections without an answer


def is_remote(place: str, option: str) -> bool:
    """Return whether a place is a URL, not a path.

    Raises ConfigError, naming the option, for a URL with one slash or with a secret in it.
    """
    refuse_secret(place, option)
    if re.match(r"[a-z][a-z0-9+]+:/(?!/)", place):
        raise ConfigError(f"{option} {place}: a URL needs two slashes: {place.replace(':/', '://', 1)}")
    return "://" in place


def refuse_secret(place: str, option: str) -> None:
    """Raise ConfigError for a URL with credentials or a signature: reports and the process list would show it.

    A secret may contain slashes, as those of AWS do, so that it ends at the last `@`. A colon before a slash may also
    begin a port.
    """
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?!/)(.*)", place, re.DOTALL)
    if found is None:
        return
    kind, rest = found[1].lower(), found[2]
    no_port = "" if kind in _S3 else r"(?!\d{1,5}/)"
    has_secret = re.match(rf"[^/@]*:{no_port}.*@", rest, re.DOTALL) or (kind in _S3 and re.match("[^/]*@", rest))
    if has_secret or (kind in ("http", "https") and "?" in rest):
        where = (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            if kind in _S3
            else "put them into the storage's own configuration, or download the file"
        )
        raise ConfigError(f"{option} {kind}://…: a URL with a password or a query would appear in reports; {where}")


def strip_slash(url: str, option: str) -> str:
    """Return a URL without trailing slashes; raises ConfigError if nothing follows its `://`."""
    kind, _, rest = url.partition("://")
    if not rest.strip("/"):
        raise ConfigError(f"{option} {url}: names no bucket; write {kind}://bucket/folder")
    return url.rstrip("/")


def open_filesystem(url: str, option: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the URL's path in it.

    Credentials and endpoint are found as the storage's own tools find them. Raises ConfigError, naming the option, for
    an unknown kind of storage, a missing package or a secret in the URL, StorageError if the storage cannot be reached.
    """
    refuse_secret(url, option)
    kind = url.partition("://")[0]
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if kind in _S3:
        # Retried only here: retries of botocore and s3fs would multiply these.
        options["config_kwargs"] = {
            "connect_timeout": _CONNECT_S, "read_timeout": _READ_S, "retries": {"max_attempts": 0},
        }  # fmt: skip
    try:
        import fsspec

        files, root = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        extra = "pip install 'ingest[s3]'" if kind in _S3 else f"install its package ({error})"
        raise ConfigError(f"{option} {url}: the package for this storage is missing; {extra}") from error
    except ValueError as error:
        raise ConfigError(f"{option} {url}: {error}; give a path, or a URL such as s3://bucket/folder") from error
    except Exception as error:  # some storages connect here, and raise errors of their libraries
        raise StorageError(f"{url}: cannot be reached ({_describe(error)}); correct {option}, or run again") from error
    if hasattr(files, "retries"):
        files.retries = 1
    return files, root


def with_retries(function: Callable[[], T], place: str, doing: str) -> T:
    """Call a function that accesses a storage, with a few tries; return its result.

    If all fail, raises StorageError: `place` cannot be `doing`, such as "read". FileNotFoundError is raised unchanged.
    """
    import tenacity

    trying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_TRIES),
        wait=tenacity.wait_random_exponential(_FIRST_PAUSE_S, _LONGEST_PAUSE_S),
        retry=tenacity.retry_if_exception(_is_transient),
        reraise=True,
    )
    try:
        found: T = trying(_call, function)
    except (FileNotFoundError, IngestError):
        raise
    except Exception as error:  # errors of the storages' libraries: botocore's, aiohttp's, OSError
        raise StorageError(
            f"{place}: cannot be {doing} ({_describe(error)}); check the storage and your rights to it, then run again"
        ) from error
    return found


def _call(function: Callable[[], T]) -> T:
    """Call a function; raise the cause if fsspec reports a web server without an answer as a missing file."""
    try:
        return function()
    except FileNotFoundError as error:
        cause = error.__cause__
        unanswered = isinstance(cause, TimeoutError) or type(cause).__module__.startswith("aiohttp")
        if cause and unanswered and getattr(cause, "status", None) not in _MISSING:
            raise cause from None
        raise


def _describe(error: Exception) -> str:
    return " ".join(reason(error).split()) or type(error).__name__


def _is_transient(error: BaseException) -> bool:
    """Return whether trying again may help: not if the object, the rights or the credentials are missing."""
    permanent = (FileNotFoundError, PermissionError, NotImplementedError, IngestError)
    return isinstance(error, Exception) and not isinstance(error, permanent) and "redential" not in type(error).__name__
