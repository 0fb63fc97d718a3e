"""Options that several commands share, in the groups that --help shows, and the settings made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ingest.cli.help_groups import CONFIG, DEFAULTS, F, Grouped, combine, option
from ingest.cli.param_types import Age, BatchSize, GpuShare, Limit, PathOrUrl
from ingest.core import settings as configuration
from ingest.core.settings import Settings

_FILE = click.Path(path_type=Path)

contract = option(
    "Catalog",
    "--schema",
    type=_FILE,
    show_default="the built-in one",
    help="The collection's schema (contract) file.",
)

catalog = combine(
    option(
        "Catalog",
        "--catalog",
        "-c",
        type=PathOrUrl(),
        metavar="PLACE",
        help="CSV, TSV, JSON Lines or Parquet: a file, a folder, a glob, or a URL such as s3://bucket/folder.",
    ),
    option("Catalog", "--id-column", metavar="NAME", help="Column that holds the product ids."),
    option(
        "Catalog",
        "--image-column",
        metavar="NAME",
        help="Column that holds image URLs, or paths relative to the catalog's folder.",
    ),
    contract,
    option(
        "Images",
        "--url-key",
        type=click.Choice(["full", "path"]),
        help="What must change in a URL to mean another image: anything, or something before its ? and #.",
    ),
    option(
        "Images",
        "--images-root",
        type=_FILE,
        help="Also allow local images in this folder, not only beside the catalog.",
    ),
    option("Images", "--min-side", type=click.IntRange(0), help="Skip images whose shorter side has fewer pixels."),
    # Pillow itself refuses larger images.
    option("Images", "--max-pixels", type=click.IntRange(1, 178_956_970), help="Skip images with more pixels."),
    option("Images", "--skip-blank", is_flag=True, help="Skip images of a single colour."),
)
"""What decides which products a catalog has, and which image each of them: the same for every command that reads it."""

first_products = option(
    "Catalog", "--sample", type=click.IntRange(0), help="Use only the first N products; 0 means all.", metavar="N"
)

data = option("Folders", "--data", "-d", type=_FILE, help="Folder for the image cache, vectors, exports and reports.")

store = option(
    "Folders",
    "--store",
    metavar="PLACE",
    show_default="embeddings/store in the data folder",
    help="Folder for the vectors, or a URL such as s3://bucket/folder.",
)

engine = combine(
    option("Engine", "--engine", type=click.Choice(["threads", "ray"]),
           help="Run on this machine, or on a Ray cluster."),
    option("Engine", "--address", metavar="ADDRESS",
           help="Address of the Ray cluster: ray://…, auto, or local to start one here."),
    option("Engine", "--actors", metavar="auto|N|MIN,MAX",
           help="Number of model actors; with MIN,MAX Ray scales between the two, with auto up to one for each GPU."),
    option("Engine", "--gpus-per-actor", type=GpuShare(0), metavar="auto|N",
           help="GPUs for each actor; 0 embeds on CPUs, auto takes one if the cluster has any."),
    option("Engine", "--cluster-wait", type=click.FloatRange(0), metavar="SECONDS",
           help="How long to wait for nodes that the actors need, where the cluster grows on demand."),
    option("Engine", "--upsert-parallelism", type=click.IntRange(1), help="Number of processes that write to Milvus."),
)  # fmt: skip

requests = combine(
    option("Images", "--download-timeout", type=click.FloatRange(0.1), help="How long to wait for the next bytes."),
    option("Images", "--download-tries", type=click.IntRange(1, 20), help="Attempts per image."),
    option(
        "Images",
        "--max-image-bytes",
        type=click.IntRange(1),
        metavar="BYTES",
        help="Do not download images larger than this.",
    ),
    option(
        "Images", "--download-deadline", type=click.FloatRange(1), help="Time limit per image, all attempts together."
    ),
    option("Images", "--user-agent", metavar="TEXT", show_default="ingest/VERSION", help="User-Agent header."),
    option(
        "Images", "--host-headers", type=_FILE, help="TOML file with request headers, one table per host or origin."
    ),
    option(
        "Images", "--allow-host", metavar="NAME,…", help="Allow downloads from these hosts even if they are not public."
    ),
    option("Images", "--allow-private", is_flag=True, help="Allow downloads from loopback and private addresses."),
)

downloads = combine(
    option("Images", "--download-workers", type=click.IntRange(1, 1024), help="Images downloaded at the same time."),
    option(
        "Images",
        "--download-per-host",
        type=click.IntRange(1, 1024),
        help="Images downloaded at the same time from one host.",
    ),
    requests,
    option("Images", "--retry-failed", is_flag=True, help="Retry downloads that failed permanently, such as a 404."),
    option("Images", "--refresh", is_flag=True, help="Check with the servers whether downloaded images have changed."),
    option("Images", "--refresh-older-than", type=Age(), metavar="AGE",
           help="Check whether images that were downloaded longer ago than this, such as 7d, have changed."),
)  # fmt: skip

images = combine(
    option("Images", "--download-missing", is_flag=True, help="Download images that are not in the cache."),
    downloads,
    option(
        "Images",
        "--decode-workers",
        type=click.IntRange(0),
        show_default="one per core, less one for processes",
        help="Images decoded at the same time.",
    ),
    option(
        "Images",
        "--decode-in",
        type=click.Choice(["auto", "threads", "processes"]),
        help="Decode on threads or in processes; auto takes processes if a GPU embeds.",
    ),
    option("Images", "--exact", is_flag=True, help="Decode large JPEGs at full size, which is slower."),
    option(
        "Images",
        "--resize",
        type=click.Choice(["host", "device"]),
        help="Resize images on this machine's cores, or on the model's device: not measured on a GPU yet.",
    ),
)

model = combine(
    option("Model", "--model", "-m", metavar="MODEL", help="CLIP or SigLIP: a hub id or a folder, see ingest models."),
    option(
        "Model",
        "--model-revision",
        metavar="REVISION",
        help="Branch, tag or commit on the hub.",
        show_default="the cached one, else main",
    ),
    option("Model", "--device", metavar="DEVICE", help="auto, cuda, cuda:N, mps or cpu; several separated by commas."),
    option(
        "Model",
        "--dtype",
        type=click.Choice(["auto", "bfloat16", "float16", "float32"]),
        help="Number format of the computation.",
    ),
)

batch_size = option("Model", "--batch-size", "-b", type=BatchSize(1, 65536), metavar="auto|N", help="Images per batch.")

milvus = combine(
    option(
        "Milvus",
        "--uri",
        metavar="URI",
        envvar=["INGEST_URI", "MILVUS_URI"],
        show_default="milvus.db in the data folder",
        help="Milvus server (http://… or https://…), or a Milvus Lite file (….db).",
    ),
    option(
        "Milvus",
        "--token",
        metavar="TOKEN",
        envvar=["INGEST_TOKEN", "MILVUS_TOKEN"],
        show_default=False,
        help="user:password or an API key. Safer in the environment variable MILVUS_TOKEN.",
    ),
    option("Milvus", "--db-name", metavar="NAME", help="Database on the server."),
    option(
        "Milvus",
        "--max-wait",
        type=click.FloatRange(0),
        help="How long to wait for a server that is unavailable or busy.",
    ),
)

loading = combine(
    option(
        "Milvus",
        "--load",
        type=click.Choice(["auto", "upsert", "bulk"]),
        help="How to write rows; auto uses bulk import if the collection is empty and --bulk-folder is set.",
    ),
    option("Milvus", "--bulk-folder", type=_FILE, help="Folder for import files; the server must be able to read it."),
    option(
        "Milvus", "--bulk-path", metavar="PATH", show_default="the same path", help="Path of that folder on the server."
    ),
)

removal = combine(
    option("Removal", "--prune", is_flag=True, help="Delete rows of products that are no longer in the catalog."),
    option("Removal", "--drop-failed", is_flag=True, help="Delete rows of products that now fail."),
    option(
        "Removal",
        "--max-prune",
        type=click.FloatRange(0, 1),
        metavar="SHARE",
        help="Refuse to delete more than this share of the rows.",
    ),
    option(
        "Removal",
        "--accept-changed-catalog",
        is_flag=True,
        help="Delete rows even if the catalog has lost columns or is written in another way than before.",
    ),
)

allow_smaller = option(
    "Output",
    "--allow-smaller",
    is_flag=True,
    help="Accept that more than 20 % of the products that apps or exports have now are lost, or have other ids.",
)

parquet = option("Output", "--parquet", is_flag=True, help="Also write a Parquet file: ids, typed fields and vectors.")

as_json = click.option(
    "--json", "as_json", is_flag=True, cls=Grouped, group="Output", help="Print the result as JSON on stdout."
)

quiet = click.option(
    "--quiet", "-q", is_flag=True, cls=Grouped, group="Output", help="Print only errors, notes and one line of result."
)

outcome = combine(
    option(
        "Output",
        "--max-skipped",
        type=Limit(),
        metavar="N|N%",
        help="Exit with code 4 if more products than this are skipped.",
    ),
    as_json,
    quiet,
)

profile = click.option(
    "--profile",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    cls=Grouped,
    group="Output",
    help="Write a trace of the stages for ui.perfetto.dev.",
)


def config_option(function: F) -> F:
    """Add --config, which is read before any other option takes its default."""
    return click.option(
        "--config",
        type=_FILE,
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        envvar="INGEST_CONFIG",
        cls=Grouped,
        group="Folders",
        show_default="./ingest.toml if it exists",
        help="Settings file; its keys are the flags' names.",
    )(function)


def settings(values: dict[str, Any]) -> Settings:
    """Make the settings from the option values; settings without an option keep their default."""
    return Settings(**{key: value for key, value in values.items() if key in DEFAULTS})


def _read_config(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    path = path or Path(configuration.FILE_NAME)
    if (
        path.name != configuration.FILE_NAME
        or path.exists()
        or ctx.get_parameter_source("config") is not ParameterSource.DEFAULT
    ):
        ctx.default_map = configuration.read(path)
        ctx.meta[CONFIG] = path
