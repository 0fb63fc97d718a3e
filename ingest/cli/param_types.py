"""Option types in addition to Click's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class _OrAuto(click.ParamType[Any]):
    """Lets the kind of number that follows it among a class' bases be `auto` too."""

    name = "number or auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or `auto` unchanged."""
        return value if value == "auto" else super().convert(value, param, ctx)


class BatchSize(_OrAuto, click.IntRange):
    """A number of images, or `auto`."""


class GpuShare(_OrAuto, click.FloatRange):
    """A number of GPUs, or `auto`."""


class PathOrUrl(click.Path):
    """A path, or a URL, which stays a string."""

    name = "path or url"

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or the URL unchanged."""
        return value if "://" in str(value) else super().convert(value, param, ctx)
