"""The options that commands share, in the groups that --help shows, and the settings made of them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ingest.cli.param_types import BatchSize, PathOrUrl
from ingest.core import settings as configuration
from ingest.core.errors import ConfigError
from ingest.core.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

_DEFAULTS = {setting.name: getattr(Settings(), setting.name) for setting in fields(Settings)}
_FILE = click.Path(path_type=Path)
_CONFIG = "ingest.config"  # where a context keeps the path of its ingest.toml


class Grouped(click.Option):
    """An option that stands under a heading of its own in --help."""

    def __init__(self, *args: Any, group: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the value as its type has it; one of `ingest.toml` that is out of bounds is a ConfigError."""
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            if ctx.get_parameter_source(str(self.name)) is not ParameterSource.DEFAULT_MAP:
                raise
            place = configuration.locate_key(ctx.meta[_CONFIG], str(self.name))
            raise ConfigError(f"{place}: {self.name}: {error.message.rstrip('.')}") from error


class Command(click.Command):
    """A command whose --help shows options by group."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each group under its heading, in the order the options stand in."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record:
                groups.setdefault(getattr(param, "group", "Other"), []).append(record)
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


def option(group: str, *names: str, envvar: str | list[str] | None = None, **kwargs: Any) -> Callable[[F], F]:
    """Declare one setting: default from `Settings`, environment variable from its name."""
    key = next(name for name in names if name.startswith("--")).split("/")[0].removeprefix("--").replace("-", "_")
    if key in _DEFAULTS:
        kwargs.setdefault("default", _DEFAULTS[key])
        kwargs.setdefault("show_default", kwargs["default"] not in ("", None))
    return click.option(*names, cls=Grouped, group=group, envvar=envvar or f"INGEST_{key.upper()}", **kwargs)


def combine(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Make one decorator of several, which --help shows in this order."""

    def decorate(function: F) -> F:
        for one in reversed(options):
            function = one(function)
        return function

    return decorate


catalog_file = combine(
    option(
        "Catalog", "--catalog", "-c", type=PathOrUrl(), metavar="PLACE",
        help="CSV, TSV, JSON Lines or Parquet: a file, a folder or a glob of files; or such a URL, s3://bucket/folder.",
    ),
    option("Catalog", "--id-column", help="Its column of product ids."),
    option("Catalog", "--image-column", help="Its column of picture URLs or paths, relative to the catalog's folder."),
)  # fmt: skip

catalog = combine(
    catalog_file,
    option(
        "Catalog",
        "--sample",
        type=click.IntRange(0),
        help="Take the first N products only; 0 takes all.",
        metavar="N",
    ),
)

contract = option(
    "Catalog",
    "--schema",
    type=_FILE,
    show_default="the shipped one",
    help="The collection's contract.",
)

data = option(
    "Places",
    "--data",
    "-d",
    type=_FILE,
    help="Folder of the cache, the vectors, the indexes and the reports.",
)

store = option(
    "Places", "--store", metavar="PLACE", show_default="embeddings/store in --data",
    help="Folder or URL of the vectors: s3://bucket/folder.",
)  # fmt: skip

engine = combine(
    option("Engine", "--engine", type=click.Choice(["threads", "ray"]), help="This machine, or a Ray cluster."),
    option("Engine", "--address", help="Of the cluster: ray://…, auto, or local to start one here."),
    option("Engine", "--actors", metavar="N|MIN,MAX", help="Models at work; between the two, Ray adds and removes."),
    option("Engine", "--gpus-per-actor", type=click.FloatRange(0), help="Of each; 0 embeds on CPUs."),
    option("Engine", "--upsert-parallelism", type=click.IntRange(1), help="Processes that write to Milvus."),
)

requests = combine(
    option("Pictures", "--download-timeout", type=click.FloatRange(0.1), help="Seconds to wait for a byte."),
    option("Pictures", "--download-tries", type=click.IntRange(1, 20), help="Tries for each picture."),
    option("Pictures", "--max-image-bytes", type=click.IntRange(1), help="The largest picture fetched."),
    option("Pictures", "--download-deadline", type=click.FloatRange(1), help="Seconds for a picture with all tries."),
    option("Pictures", "--user-agent", show_default="ingest/…", help="What servers are told."),
    option("Pictures", "--host-headers", type=_FILE, help="A TOML file: a table of headers for each host."),
    option("Pictures", "--allow-host", metavar="NAME,…", help="Fetch from these hosts though they are not public."),
    option("Pictures", "--allow-private", is_flag=True, help="Fetch from loopback and private addresses."),
)

downloads = combine(
    option("Pictures", "--download-workers", type=click.IntRange(1, 1024), help="Pictures fetched at once."),
    option("Pictures", "--download-per-host", type=click.IntRange(1, 1024), help="Of these, from one host."),
    requests,
    option("Pictures", "--images-root", type=_FILE, help="Local pictures may lie here too, not by the catalog alone."),
    option("Pictures", "--retry-failed", is_flag=True, help="Try again what failed for good, such as a 404."),
    option("Pictures", "--refresh", is_flag=True, help="Ask whether fetched pictures have changed."),
    option("Pictures", "--refresh-older-than", metavar="7d", help="Ask for those fetched longer ago than this."),
    option("Pictures", "--min-side", type=click.IntRange(0), help="Skip pictures with a shorter side."),
    # Above that, Pillow itself refuses.
    option("Pictures", "--max-pixels", type=click.IntRange(1, 178_956_970), help="Skip pictures of more pixels."),
    option("Pictures", "--skip-blank", is_flag=True, help="Skip pictures of one colour."),
)

images = combine(
    option("Pictures", "--download-missing", is_flag=True, help="Fetch http(s) pictures that are not in the cache."),
    downloads,
    option(
        "Pictures", "--decode-workers", type=click.IntRange(0), show_default="one a core",
        help="Pictures decoded at once.",
    ),
    option("Pictures", "--exact", is_flag=True, help="Decode every pixel of large JPEGs too, which is slower."),
)  # fmt: skip

model = combine(
    option("Model", "--model", "-m", help="A CLIP or SigLIP: a hub id, or a folder."),
    option(
        "Model",
        "--model-revision",
        help="A branch, tag or commit of the hub.",
        show_default="the cached one, else main",
    ),
    option("Model", "--device", help="auto, cuda, cuda:N, mps or cpu; several with commas."),
    option(
        "Model",
        "--dtype",
        type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
        help="Numbers computed in.",
    ),
)

batch_size = option(
    "Model", "--batch-size", "-b", type=BatchSize(1, 65536), metavar="auto|N", help="Pictures embedded at once."
)

milvus = combine(
    option(
        "Milvus", "--uri", envvar=["INGEST_URI", "MILVUS_URI"], show_default="milvus.db in --data",
        help="A Milvus Lite file (….db), http://… or https://…",
    ),
    option(
        "Milvus", "--token", envvar=["INGEST_TOKEN", "MILVUS_TOKEN"], show_default=False,
        help="user:password or an API key; better in MILVUS_TOKEN.",
    ),
    option("Milvus", "--db-name", help="The database."),
    option("Milvus", "--max-wait", type=click.FloatRange(0), help="Seconds to wait for a server that is away or busy."),
)  # fmt: skip

loading = combine(
    option(
        "Milvus", "--load", type=click.Choice(["auto", "upsert", "bulk"]),
        help="How rows go in; auto imports into an empty collection where --bulk-folder is set.",
    ),
    option("Milvus", "--bulk-folder", type=_FILE, help="Files to import are written here; the server sees it too."),
    option("Milvus", "--bulk-path", show_default="the same", help="What the server calls that folder."),
)  # fmt: skip

removal = combine(
    option("Removal", "--prune", is_flag=True, help="Delete the rows of products that left the catalog."),
    option("Removal", "--drop-failed", is_flag=True, help="Delete the rows of products that fail now."),
    option(
        "Removal", "--max-prune", type=click.FloatRange(0, 1), metavar="SHARE",
        help="Refuse to delete more than this share of the rows.",
    ),
)  # fmt: skip

allow_smaller = option(
    "Outcome", "--allow-smaller", is_flag=True,
    help="Write exports that lack more than 20 % of the last ones' products.",
)  # fmt: skip

outcome = combine(
    option("Outcome", "--max-skipped", metavar="N|N%", help="Exit with 4 when more products are skipped."),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        cls=Grouped,
        group="Outcome",
        help="A summary on stdout, for machines.",
    ),
    click.option(
        "--quiet",
        "-q",
        is_flag=True,
        cls=Grouped,
        group="Outcome",
        help="No progress; errors and the end only.",
    ),
)


profile = click.option(
    "--profile", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", cls=Grouped, group="Outcome",
    help="Write a trace of the stages, for ui.perfetto.dev or chrome://tracing.",
)  # fmt: skip


def config_option(function: F) -> F:
    """Add --config, which is read before any other option looks for its default."""
    return click.option(
        "--config", type=_FILE, is_eager=True, expose_value=False, callback=_read_config, envvar="INGEST_CONFIG",
        cls=Grouped, group="Places", show_default="ingest.toml here, if there", help="Settings, by the flags' names.",
    )(function)  # fmt: skip


def settings(values: dict[str, Any]) -> Settings:
    """Make the settings of what Click collected; a command that lacks an option leaves it at its default."""
    return Settings(**{key: value for key, value in values.items() if key in _DEFAULTS})


def explicit_flags(ctx: click.Context, *names: str) -> list[str]:
    """Return those of the named flags that stand on the command line, with their values, to repeat in advice."""
    from ingest.milvus.uris import split_user

    words = []
    for name in names:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value = str(ctx.params[name])
            words += [f"--{name.replace('_', '-')}", split_user(value)[0] if name == "uri" else value]
    return words


def refuse(ctx: click.Context, why: str, *names: str) -> None:
    """Raise UsageError for the first of the named flags on the command line, where it would be ignored."""
    for word in explicit_flags(ctx, *names)[:1]:
        raise click.UsageError(f"{word} {why}", ctx)


def _read_config(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    path = path or Path(configuration.FILE_NAME)
    if (
        path.name != configuration.FILE_NAME
        or path.exists()
        or ctx.get_parameter_source("config") is not ParameterSource.DEFAULT
    ):
        ctx.default_map = configuration.read(path)
        ctx.meta[_CONFIG] = path
