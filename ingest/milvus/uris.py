"""What `--uri` may be, an address or a Milvus Lite file, and the credentials that it may carry."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from ingest.core.errors import MilvusError


def split_user(uri: str) -> tuple[str, str]:
    """Return a URI without its credentials, and these as `user:password`, or "" where it carries none."""
    if "@" not in uri:
        return uri, ""
    if "://" not in uri:  # a scheme forgotten: what stands before the @ is a secret all the same
        user, _, host = uri.rpartition("@")
        return (host, user) if ":" in user else (uri, "")
    parts = urlsplit(uri)
    user = unquote(f"{parts.username}:{parts.password or ''}") if parts.username else ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), user


def target(uri: str) -> tuple[str, str, str]:
    """Return what to show, what to connect to, and `user:password` where the URI carries one."""
    if "://" in uri:
        bare, user = split_user(uri)
        return bare, bare, user
    path = Path(uri).expanduser()
    if path.suffix != ".db":
        raise MilvusError(
            f"--uri {split_user(uri)[0]}: neither http://… nor a Milvus Lite file, whose name ends in .db"
        )
    return uri, str(path), ""


def make_folder(uri: str, folder: Path) -> None:
    """Make the folder that a Milvus Lite file goes into; raises MilvusError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MilvusError(f"--uri {uri}: its folder cannot be made ({error.strerror})") from error
