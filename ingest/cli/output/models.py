"""Prints the models to choose from: what each is for, its size and speed, and what was published about it."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ingest.core import display
from ingest.embedding.recommended_models import MEASURES, SPEED

if TYPE_CHECKING:
    from ingest.embedding.cached_models import CachedModel
    from ingest.embedding.recommended_models import RecommendedModel
    from ingest.tasks.models import Models

_NAME = 39  # columns
_INDENT = "    "
_NOTES = (
    "SIZE: parameters of both towers. SPEED: images in the time that ViT-B/32 takes",
    "for one, on two cores. *: in the local cache. Figures of different sources say",
    "nothing about each other; docs/choosing-a-model.md shows how to compare models",
    "on your own catalog.",
)


def show(models: Models) -> None:
    """Print the recommended models by purpose, then those in the cache."""
    cached = {model.name for model in models.cached if not model.problem}
    display.echo(f"  {'MODEL':<{_NAME}}{'SIZE':>7}{'DIM':>6}{'SPEED':>7}  LANGUAGES")
    for purpose, group in groupby(models.recommended, key=lambda model: model.purpose):
        display.echo()
        display.echo(f"{purpose[0].upper()}{purpose[1:]}")
        for model in group:
            _show_recommended(model, is_cached=model.name in cached)
    display.echo()
    for line in _NOTES:
        display.echo(line)
    for number, (source, measure) in enumerate(MEASURES.items(), 1):
        display.echo(f"[{number}] {measure}:")
        display.echo(f"{_INDENT}{source}")
    display.echo()
    _show_cached(models.cached)


def _show_recommended(model: RecommendedModel, *, is_cached: bool) -> None:
    rate = f"{SPEED[model.shape]:.2g}"
    mark = "*" if is_cached else " "
    size = f"{model.parameters_m} M"
    display.echo(f"{mark} {model.name:<{_NAME}}{size:>7}{model.dim:>6}{rate:>7}  {model.languages}")
    quality = "" if model.quality is None else f", {model.quality:.3f} [{list(MEASURES).index(model.source) + 1}]"
    display.echo(f"{_INDENT}{model.licence}, {model.shape}{quality}")


def _show_cached(cached: tuple[CachedModel, ...]) -> None:
    display.echo("In the local cache" + ("" if cached else ": none"))
    for model in cached:
        dim = f", dim {model.dim}" if model.dim else ""
        display.echo(f"  {model.name}: {model.family}{dim}, {model.bytes / 1e9:,.2f} GB")
        if model.problem:
            display.echo(f"{_INDENT}{model.problem}")
