"""The profiles of catalogs as the last good run read them, in the data folder, for commands that open no collection."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.catalog.profile import parse_profile
from ingest.core.redaction import redact
from ingest.runtime.atomic_files import atomic_write

if TYPE_CHECKING:
    from ingest.catalog.profile import CatalogProfile
    from ingest.core.settings import Settings

FILE = "catalog_profile.json"
"""In the data folder: an object with a profile for each catalog that is read with this folder."""
_MOST = 100  # catalogs; the one that was written first is dropped


def recall(settings: Settings) -> CatalogProfile | None:
    """Return the profile of the settings' catalog of the last good run; None if there is none, or it is broken."""
    kept = _read(settings.data / FILE).get(_key(settings))
    return None if kept is None else parse_profile(json.dumps(kept))


def keep(settings: Settings, profile: CatalogProfile) -> None:
    """Keep the profile of the settings' catalog, unless it says what is kept already; raises StorageError."""
    if profile.says_same(recall(settings)):
        return
    path, key = settings.data / FILE, _key(settings)
    others = [(name, kept) for name, kept in _read(path).items() if name != key]
    own = {"catalog": redact(_place(settings)), **json.loads(profile.to_json())}
    with atomic_write(path) as file:
        file.write(json.dumps(dict([*others, (key, own)][-_MOST:]), indent=1).encode())


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _key(settings: Settings) -> str:
    """Return what a catalog is known by: a digest of its place, so that no password of a URL is kept."""
    return hashlib.sha256(_place(settings).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _place(settings: Settings) -> str:
    """Return a catalog's whole path, or its URL without the query, whose signature is another one each night."""
    place = str(settings.catalog)
    return place.partition("?")[0] if "://" in place else str(Path(place).absolute())
