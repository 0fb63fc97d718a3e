"""The keywords of the Python API, with their types: the flags of the commands, in the groups that `--help` shows.

`Unpack` gives them to a function's signature, `keyword_settings.py` checks values by the same types, and a test
compares both with the flags. A keyword that is left out has the default of `core.settings.Settings`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from typing import Annotated, Literal, NamedTuple, TypeAlias, TypedDict


class Limits(NamedTuple):
    """The least and the greatest value of a number."""

    least: float
    greatest: float = math.inf


AnyPath: TypeAlias = str | PathLike[str]
Place: TypeAlias = AnyPath
"""A path, or a URL such as s3://bucket/folder."""
Names: TypeAlias = str | Sequence[str]
"""Several names: a list, or one text with commas."""
Count: TypeAlias = Annotated[int, Limits(0)]
Positive: TypeAlias = Annotated[int, Limits(1)]
Seconds: TypeAlias = Annotated[float, Limits(0)]
Share: TypeAlias = Annotated[float, Limits(0, 1)]
Connections: TypeAlias = Annotated[int, Limits(1, 1024)]
BatchSize: TypeAlias = Annotated[int, Limits(1, 65536)] | Literal["auto"]


class _Config(TypedDict, total=False):
    """A file whose settings apply where no keyword says otherwise; none is read by itself."""

    config: AnyPath | None


class _Contract(TypedDict, total=False):
    """The contract with the apps that query."""

    schema: AnyPath


class _Rows(_Contract, total=False):
    """Which products the catalog has, and which image each of them; the catalog itself is the first argument."""

    id_column: str
    image_column: str
    format: Literal["auto", "csv", "tsv", "excel", "json", "jsonl", "parquet", "google", "shopify", "woocommerce"]
    delimiter: str
    encoding: str
    quotes: Literal["auto", "doubled", "backslash"]
    decimal: Literal["auto", "point", "comma"]
    variants: bool
    url_key: Literal["full", "path"]
    images_root: AnyPath | None
    min_side: Count
    max_pixels: Annotated[int, Limits(1, 178_956_970)]
    skip_blank: bool


class _Sample(TypedDict, total=False):
    """Only the first products."""

    sample: Count


class _Requests(TypedDict, total=False):
    """How one image is downloaded."""

    download_timeout: Annotated[float, Limits(0.1)]
    download_tries: Annotated[int, Limits(1, 20)]
    max_image_bytes: Positive
    download_deadline: Annotated[float, Limits(1)]
    user_agent: str
    host_headers: AnyPath | None
    allow_host: Names
    allow_private: bool


class _Downloads(_Requests, total=False):
    """How all of them are."""

    download_workers: Connections
    download_per_host: Connections
    retry_failed: bool
    refresh: bool
    refresh_older_than: str


class _Images(_Downloads, total=False):
    """What a command that embeds does with images."""

    download_missing: bool
    decode_workers: Count
    decode_in: Literal["auto", "threads", "processes"]
    exact: bool
    resize: Literal["host", "device"]


class _Model(TypedDict, total=False):
    """The model, and what it computes with."""

    model: AnyPath
    model_revision: str | None
    device: Names
    dtype: Literal["auto", "bfloat16", "float16", "float32"]


class _Batches(TypedDict, total=False):
    """How many images are embedded at once."""

    batch_size: BatchSize


class _Engine(TypedDict, total=False):
    """One machine, or a Ray cluster."""

    engine: Literal["threads", "ray"]
    address: str
    actors: str | int
    gpus_per_actor: Annotated[float, Limits(0)] | Literal["auto"]
    cluster_wait: Seconds
    upsert_parallelism: Positive


class _Login(TypedDict, total=False):
    """How to connect to Milvus; `uri` says where it is."""

    token: str
    db_name: str
    max_wait: Seconds


class _Milvus(_Login, total=False):
    """Which Milvus."""

    uri: AnyPath


class _Loading(TypedDict, total=False):
    """How rows are written."""

    load: Literal["auto", "upsert", "bulk"]
    bulk_folder: AnyPath | None
    bulk_path: str


class _Folder(TypedDict, total=False):
    """The data folder."""

    data: AnyPath


class _Store(_Folder, total=False):
    """The data folder, and where the vectors are kept."""

    store: Place


class _Removal(TypedDict, total=False):
    """Which rows may be deleted."""

    prune: bool
    drop_failed: bool
    max_prune: Share
    accept_changed_catalog: bool


class _Exports(TypedDict, total=False):
    """Whether the exported files are written too."""

    exports: bool


class _Parquet(TypedDict, total=False):
    """Whether the Parquet file is written, planned, or checked, too."""

    parquet: bool


class _Losses(TypedDict, total=False):
    """Whether apps and exports may lose many products."""

    allow_smaller: bool


class _Skips(TypedDict, total=False):
    """How many products may be skipped: a number, or a share such as "5%"."""

    max_skipped: int | str


class _Profile(TypedDict, total=False):
    """A trace of the stages for ui.perfetto.dev."""

    profile: AnyPath | None


class EmbedKeywords(_Rows, _Sample, _Images, _Model, _Batches, _Store, _Losses, _Skips, _Profile, _Config, total=False):
    """Those of `ingest.embed`; `output` and `meta` are the files to write."""

    output: AnyPath | None
    meta: AnyPath | None


class ExportKeywords(_Rows, _Sample, _Model, _Store, _Parquet, _Losses, _Skips, _Config, total=False):
    """Those of `ingest.export`."""


class FetchKeywords(_Rows, _Sample, _Downloads, _Folder, _Skips, _Profile, _Config, total=False):
    """Those of `ingest.fetch`."""


class PlanKeywords(
    _Rows, _Sample, _Images, _Model, _Milvus, _Store, _Removal, _Exports, _Parquet, _Losses, _Skips, _Config,
    total=False,
):  # fmt: skip
    """Those of `ingest.plan`."""


class RunKeywords(PlanKeywords, _Batches, _Engine, _Loading, _Profile, total=False):
    """Those of `ingest.run`."""


class VerifyKeywords(
    _Rows, _Images, _Model, _Batches, _Milvus, _Store, _Removal, _Exports, _Parquet, _Config, total=False
):  # fmt: skip
    """Those of `ingest.verify`.

    `sample` vectors are compared and searched for, `embed` images embedded again, drawn with `seed`. With `pictures`
    every image is hashed again; with `repair` differences are repaired, and all is checked again.
    """

    sample: Count
    pictures: bool
    embed: Count
    seed: Count | None
    repair: bool


class ConnectKeywords(_Login, _Contract, _Requests, _Model, _Folder, _Config, total=False):
    """Those of `ingest.connect`; `catalog` and `images_root` say where the images of hits are."""

    catalog: Place
    images_root: AnyPath | None


class EncoderKeywords(TypedDict, total=False):
    """Those of `ingest.load_encoder`."""

    model_revision: str | None
    device: Names
    dtype: Literal["auto", "bfloat16", "float16", "float32"]
    batch_size: BatchSize


PATHS = frozenset(
    {"schema", "data", "images_root", "host_headers", "bulk_folder", "profile", "output", "meta", "config"}
)
"""Keywords that are paths and nothing else."""
