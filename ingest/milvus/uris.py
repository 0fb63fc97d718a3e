"""What `--uri` may be, a server's address or a Milvus Lite file, and the credentials in it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from ingest.core.errors import MilvusError


def split_user(uri: str) -> tuple[str, str]:
    """Return a URI without its credentials, and these as `user:password`, or "" if it has none."""
    if "@" not in uri:
        return uri, ""
    if "://" not in uri:  # the scheme was forgotten: what is before the @ is a secret all the same
        user, _, host = uri.rpartition("@")
        return (host, user) if ":" in user else (uri, "")
    parts = urlsplit(uri)
    user = unquote(f"{parts.username}:{parts.password or ''}") if parts.username else ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), user


def target(uri: str) -> tuple[str, str, str]:
    """Return what to show, what to connect to, and `user:password`, "" if the URI has none."""
    if "://" in uri:
        bare, user = split_user(uri)
        return bare, bare, user
    path = Path(uri).expanduser()
    if path.suffix != ".db":
        raise MilvusError(
            f"--uri {split_user(uri)[0]}: not an address; pass http://… or a Milvus Lite file, whose name ends in .db"
        )
    return uri, str(path), ""


def make_folder(uri: str, folder: Path) -> None:
    """Create the folder for a Milvus Lite file; raises MilvusError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MilvusError(f"--uri {uri}: its folder cannot be created ({error.strerror}); pass another") from error
