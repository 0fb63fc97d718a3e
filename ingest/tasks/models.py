"""Which models there are to choose from: those that are recommended, and those in the hub's local cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.embedding.cached_models import cached_models
from ingest.embedding.recommended_models import RECOMMENDED

if TYPE_CHECKING:
    from ingest.embedding.cached_models import CachedModel
    from ingest.embedding.recommended_models import RecommendedModel


@dataclass(frozen=True, slots=True)
class Models:
    """The recommended models by purpose, and those in the local cache by name."""

    recommended: tuple[RecommendedModel, ...]
    cached: tuple[CachedModel, ...]


def models() -> Models:
    """Return the models; nothing is fetched."""
    return Models(RECOMMENDED, tuple(cached_models()))
