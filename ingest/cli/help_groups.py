"""Options and commands whose --help lists the options under headings."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.core import ParameterSource

from ingest.core import display
from ingest.core import settings as configuration
from ingest.core.errors import ConfigError
from ingest.core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

GROUPS = (
    "Query", "Selection", "All products", "Evaluation", "Checks", "Catalog", "Images", "Model", "Engine", "Milvus",
    "Store", "Service", "Folders", "Removal", "Output", "Other",
)  # fmt: skip
"""The headings of --help, in the order in which every command lists them."""
DEFAULTS = {setting.name: getattr(Settings(), setting.name) for setting in fields(Settings)}
"""The settings' names and defaults."""
COMMON = frozenset({
    "catalog", "id_column", "image_column", "sample", "download_missing", "refresh_older_than", "model", "device",
    "batch_size", "uri", "data", "store", "prune", "exports", "max_skipped", "host", "port", "serve_token",
})  # fmt: skip
"""The settings that --help shows of a command with many; --help-all shows the others too."""
_FEW = 4
"""So many other settings are shown by --help all the same."""
_ALL = "ingest.all"
"""Key in a context's meta: whether --help-all was given."""
CONFIG = "ingest.config"
"""Key in a context's meta: the path of its ingest.toml."""


class Grouped(click.Option):
    """An option that --help lists under its group's heading."""

    def __init__(self, *args: Any, group: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group
        if self.metavar is None and isinstance(self.type, click.IntRange | click.FloatRange):
            self.metavar = "N" if isinstance(self.type, click.IntRange) else "SECONDS"

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return what --help shows in brackets: the default, and not the range in mathematical notation."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Convert and check the value; raise ConfigError for an invalid one that comes from `ingest.toml`."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            if ctx.get_parameter_source(str(self.name)) is not ParameterSource.DEFAULT_MAP:
                raise
            place = configuration.locate_key(ctx.meta[CONFIG], str(self.name))
            raise ConfigError(f"{place}: {self.name}: {error.message.rstrip('.')}") from error


class Command(click.Command):
    """A command whose --help lists the usual options by group, and whose --help-all lists all."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)
        if self._rare():
            self.params.append(click.Option(
                ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all,
                help="Show all options and exit.",
            ))  # fmt: skip

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line; raise UsageError for words that belong to no option, with what was meant by them."""
        is_group, ctx.allow_extra_args = ctx.allow_extra_args, True
        rest = super().parse_args(ctx, args)
        if rest and not is_group and not ctx.resilient_parsing:
            ctx.fail(_explain_extra(rest, has_catalog=any(param.name == "catalog" for param in self.params)))
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each group under its heading: in the order of `GROUPS`, and in a group as declared."""
        groups: dict[str, list[tuple[str, str]]] = {}
        rare = frozenset[str]() if ctx.meta.get(_ALL) else self._rare()
        for param in self.get_params(ctx):
            if param.name in rare:
                continue
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record:
                groups.setdefault(getattr(param, "group", GROUPS[-1]), []).append(record)
        for heading in sorted(groups, key=GROUPS.index):
            with formatter.section(heading):
                formatter.write_dl(groups[heading])
        if rare:
            formatter.write_paragraph()
            formatter.write_text(f"{ctx.command_path} --help-all lists {len(rare)} more options.")

    def _rare(self) -> frozenset[str]:
        """Return the names of the settings that only --help-all shows."""
        names = frozenset(str(param.name) for param in self.params if param.name in DEFAULTS) - COMMON
        return names if len(names) > _FEW else frozenset()


def _show_all(ctx: click.Context, _param: click.Parameter, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        for line in ctx.get_help().splitlines():
            display.echo(line)
        ctx.exit()


def _explain_extra(words: list[str], *, has_catalog: bool) -> str:
    """Say what is wrong with words that belong to no option."""
    if has_catalog and len(words) == 1 and re.search(r"[./*]", words[0]):
        return f"Unexpected argument {words[0]!r}. Did you mean --catalog {shlex.quote(words[0])}?"
    if len(words) > 1:
        return f"Unexpected arguments {' '.join(words)!r}. A value with spaces needs quotes."
    return f"Unexpected argument {words[0]!r}."


def option(group: str, *names: str, envvar: str | list[str] | None = None, **kwargs: Any) -> Callable[[F], F]:
    """Declare the option of one setting; its default comes from `Settings`, its environment variable from its name."""
    key = next(name for name in names if name.startswith("--")).split("/")[0].removeprefix("--").replace("-", "_")
    if key in DEFAULTS:
        kwargs.setdefault("default", DEFAULTS[key])
        kwargs.setdefault("show_default", kwargs["default"] not in ("", None))
    return click.option(*names, cls=Grouped, group=group, envvar=envvar or f"INGEST_{key.upper()}", **kwargs)


def combine(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Combine decorators into one; --help lists their options in this order."""

    def decorate(function: F) -> F:
        for one in reversed(options):
            function = one(function)
        return function

    return decorate


def bundle(name: str, kind: Any, *options: Callable[[F], F]) -> Callable[[F], F]:
    """Combine decorators into one, and pass the options' values as the keyword `name`: a `kind`, a dataclass."""
    keys = [field.name for field in fields(kind)]

    def decorate(function: F) -> F:
        @wraps(function)
        def bundled(*args: Any, **values: Any) -> Any:
            return function(*args, **{name: kind(**{key: values.pop(key) for key in keys}), **values})

        return combine(*options)(cast("F", bundled))

    return decorate
