"""The models that are in the hub's local cache and that a run could use without a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint import describe
from ingest.embedding.checkpoint_files import OPEN_CLIP_CONFIG, CheckpointFolder, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model in the cache: `bytes` on disk, and `problem`, "" if it is complete and can be loaded."""

    name: str
    family: str
    dim: int
    bytes: int
    problem: str


def cached_models() -> Iterator[CachedModel]:
    """Yield the models of images and texts in the hub's cache, by name; other models are left out."""
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        found = scan_cache_dir(constants.HF_HUB_CACHE)
    except (CacheNotFound, OSError, ValueError):
        return
    for repository in sorted(found.repos, key=lambda one: one.repo_id):
        if repository.repo_type != "model" or not repository.revisions:
            continue
        snapshot = max(repository.revisions, key=lambda one: ("main" in one.refs, one.last_modified))
        source = CheckpointFolder(snapshot.snapshot_path)
        if _embeds_images_and_texts(source):
            yield _describe(repository.repo_id, source, repository.size_on_disk)


def _describe(name: str, source: CheckpointFolder, size: int) -> CachedModel:
    try:
        dim, family, has_weights = describe(source)
    except ModelError as error:
        problem = str(error).removeprefix(f"{source.name}: ")
        return CachedModel(name, "cannot be loaded", 0, size, problem)
    return CachedModel(name, family, dim, size, "" if has_weights else "its weights are not in the cache")


def _embeds_images_and_texts(source: CheckpointFolder) -> bool:
    try:
        config: dict[str, Any] = read_json(source, "config.json") or {}
    except ModelError:
        return False
    return source.cached(OPEN_CLIP_CONFIG) is not None or "text_config" in config or "text_config_dict" in config
