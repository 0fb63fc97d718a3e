"""Places that are URLs, through fsspec: reached as the storage's own tools do, asked a few times and no more."""

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
_MISSING = (404, 410)  # what a web server answers where nothing is there
_CONNECT_S, _READ_S = 10, 60  # a connection that went silent is noticed by then


def is_remote(place: str, option: str) -> bool:
    """Whether a place is a URL, and no path; raises ConfigError, naming its option, for a URL that lacks a slash."""
    if re.match(r"[a-z][a-z0-9+]+:/(?!/)", place):
        raise ConfigError(f"{option} {place}: a URL has two slashes: {place.replace(':/', '://', 1)}")
    return "://" in place


def strip_slash(url: str, option: str) -> str:
    """Return a URL without slashes at its end; raises ConfigError where nothing is left behind its `://`."""
    kind, _, rest = url.partition("://")
    if not rest.strip("/"):
        raise ConfigError(f"{option} {url}: names no bucket; write {kind}://bucket/folder")
    return url.rstrip("/")


def open_filesystem(url: str, option: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the URL's path in it.

    Credentials and endpoint are found as the storage's own tools find them. Raises ConfigError where `option` names no
    storage or its package is missing, StorageError where it cannot be reached.
    """
    kind = url.partition("://")[0]
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if kind in ("s3", "s3a"):
        # Tries are counted here, once: botocore's, s3fs's and these would multiply.
        options["config_kwargs"] = {
            "connect_timeout": _CONNECT_S, "read_timeout": _READ_S, "retries": {"max_attempts": 0},
        }  # fmt: skip
    try:
        import fsspec

        files, root = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        extra = "pip install 'ingest[s3]'" if kind in ("s3", "s3a") else f"install its package ({error})"
        raise ConfigError(f"{option} {url}: this storage cannot be reached without its package; {extra}") from error
    except ValueError as error:
        raise ConfigError(f"{option} {url}: {error}; give a path, or a URL such as s3://bucket/folder") from error
    except Exception as error:  # some storages connect at once, and raise what their libraries do
        raise StorageError(f"{url}: cannot be reached ({_said(error)}); correct {option}, or run again") from error
    if hasattr(files, "retries"):
        files.retries = 1
    return files, root


def with_retries(function: Callable[[], T], place: str, doing: str) -> T:
    """Return what a function gives that asks a storage, trying a few times.

    What stays wrong is a StorageError that says that `place` cannot be `doing`; FileNotFoundError is raised as it is.
    """
    import tenacity

    trying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_TRIES),
        wait=tenacity.wait_random_exponential(_FIRST_PAUSE_S, _LONGEST_PAUSE_S),
        retry=tenacity.retry_if_exception(_passes),
        reraise=True,
    )
    try:
        found: T = trying(_told, function)
    except (FileNotFoundError, IngestError):
        raise
    except Exception as error:  # fsspec's storages raise what their libraries do: botocore's, aiohttp's, OSError
        raise StorageError(
            f"{place}: cannot be {doing} ({_said(error)}); see to the storage and the rights to it, and run again"
        ) from error
    return found


def _told(function: Callable[[], T]) -> T:
    """Call a function; a web server that did not answer is not told as a file that is missing, as fsspec does."""
    try:
        return function()
    except FileNotFoundError as error:
        cause = error.__cause__
        unanswered = isinstance(cause, TimeoutError) or type(cause).__module__.startswith("aiohttp")
        if cause and unanswered and getattr(cause, "status", None) not in _MISSING:
            raise cause from None
        raise


def _said(error: Exception) -> str:
    return " ".join(reason(error).split()) or type(error).__name__


def _passes(error: BaseException) -> bool:
    """Whether trying again may help: not where the object, the right or the credentials are missing."""
    lasting = (FileNotFoundError, PermissionError, NotImplementedError, IngestError)
    return isinstance(error, Exception) and not isinstance(error, lasting) and "redential" not in type(error).__name__
