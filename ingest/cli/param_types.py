"""Option types in addition to Click's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from ingest.core.duration import parse_duration
from ingest.core.errors import ConfigError


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


class Limit(click.ParamType[str]):
    """A number of products or a share of them, `50` or `5%`, as text; "" for no limit."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, if it is one."""
        if not re.fullmatch(r"|(\d+\.?\d*|\.\d+)(e\d{1,2})? *%?", text := str(value).strip()):
            self.fail(f"{value!r}: pass a number such as 50, or a share such as 5%", param, ctx)
        return text


class Age(click.ParamType[str]):
    """A duration such as `7d`, as text; "" for none."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, if it is one."""
        if value:
            try:
                parse_duration(str(value), "")
            except ConfigError as error:
                self.fail(str(error).strip(), param, ctx)
        return str(value)


class PathOrUrl(click.Path):
    """A path, or a URL, which stays a string."""

    name = "path or url"

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or the URL unchanged."""
        return value if "://" in str(value) else super().convert(value, param, ctx)
