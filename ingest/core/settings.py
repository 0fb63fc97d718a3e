"""The settings of a run: one frozen dataclass, and `ingest.toml`, whose keys are the flags' names.

A flag overrides its environment variable (`INGEST_` and the key in capitals), that overrides the file, and that the
defaults below. The command line combines them.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ingest.core import contract_file
from ingest.core.duration import parse_duration
from ingest.core.errors import ConfigError

FILE_NAME = "ingest.toml"
# Relative paths are relative to the folder of the config file.
_PATHS = {"catalog", "schema", "data", "images_root", "host_headers", "store", "bulk_folder"}
_TOKENS = {"token": "MILVUS_TOKEN", "serve_token": "INGEST_SERVE_TOKEN"}
_NUMBERS_OR_AUTO: dict[str, type] = {"batch_size": int, "gpus_per_actor": float}
_EXAMPLES = {bool: "true", int: "32", float: "20.0", str: '"text"'}


@dataclass(frozen=True, slots=True)
class MilvusSettings:
    """Which Milvus, who asks, and for how many seconds a call is retried while the server is away or busy.

    `uri` is an http(s):// address or the path of a Milvus Lite file; `db_name` "" is the user's default database.
    """

    uri: str
    token: str = field(default="", repr=False)
    db_name: str = ""
    max_wait: float = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of all commands. Times are in seconds, sizes in bytes. A catalog that is a string is a URL."""

    catalog: Path | str = Path("data/products.csv")
    id_column: str = "product_id"
    image_column: str = "image"
    sample: int = 0
    schema: Path = field(default_factory=contract_file.default_path)

    download_missing: bool = False
    download_workers: int = 32
    download_per_host: int = 8
    download_timeout: float = 20.0
    download_tries: int = 3
    max_image_bytes: int = 20 * 2**20
    download_deadline: float = 90.0
    user_agent: str = ""
    host_headers: Path | None = None
    allow_host: str = ""
    allow_private: bool = False
    images_root: Path | None = None
    url_key: str = "full"
    retry_failed: bool = False
    refresh: bool = False
    refresh_older_than: str = ""
    min_side: int = 0
    max_pixels: int = 64_000_000
    skip_blank: bool = False
    decode_workers: int = 0
    decode_in: str = "auto"
    exact: bool = False
    resize: str = "host"

    model: str = "openai/clip-vit-base-patch32"
    model_revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | str = "auto"

    engine: str = "threads"
    address: str = "local"
    actors: str = "auto"
    gpus_per_actor: float | str = "auto"
    cluster_wait: float = 0.0
    upsert_parallelism: int = 2

    uri: str = ""
    token: str = ""
    db_name: str = ""
    max_wait: float = 60.0
    load: str = "auto"
    bulk_folder: Path | None = None
    bulk_path: str = ""

    data: Path = Path("data")
    store: str = ""

    prune: bool = False
    drop_failed: bool = False
    max_prune: float = 0.2
    accept_changed_catalog: bool = False

    exports: bool = True
    parquet: bool = False
    allow_smaller: bool = False
    max_skipped: str = ""

    host: str = "127.0.0.1"
    port: int = 8900
    serve_token: str = ""
    allow_origin: str = ""

    @property
    def batch(self) -> int:
        """Images embedded at once; 0 to measure which number is fastest on the device."""
        return 0 if self.batch_size == "auto" else int(self.batch_size)

    @property
    def milvus_uri(self) -> str:
        """The address of Milvus; by default, a Milvus Lite file in the data folder."""
        return self.uri or str(self.data / "milvus.db")

    @property
    def milvus(self) -> MilvusSettings:
        """The settings of the connection to Milvus."""
        return MilvusSettings(self.milvus_uri, self.token, self.db_name, self.max_wait)

    @property
    def store_place(self) -> str:
        """The folder or URL of the embedding store; by default, in the data folder."""
        return self.store or str(self.data / "embeddings" / "store")

    @property
    def refresh_after_s(self) -> float | None:
        """The age at which a downloaded image is compared with its source again; None for never.

        Raises ConfigError if `refresh_older_than` is not a duration.
        """
        if not self.refresh_older_than:
            return 0.0 if self.refresh else None
        return parse_duration(self.refresh_older_than, "--refresh-older-than")

    @property
    def npy(self) -> Path:
        """The exported vectors; a sample has its own file."""
        return self.data / "embeddings" / f"clip_embeddings{'_sample' if self.sample else ''}.npy"

    @property
    def npy_ids(self) -> Path:
        """The product ids of the exported vectors' rows."""
        return self.data / "embeddings" / f"embedding_metadata{'_sample' if self.sample else ''}.json"

    @property
    def parquet_file(self) -> Path:
        """The exported products with their fields and vectors; a sample has its own file."""
        return self.data / "embeddings" / f"products{'_sample' if self.sample else ''}.parquet"

    @property
    def indexes(self) -> Path:
        """The folder of the FAISS files; a sample has its own."""
        return self.data / "indexes" / "sample" if self.sample else self.data / "indexes"

    def __repr__(self) -> str:
        """Show all settings except secrets, so that no log or traceback contains one."""
        names = (setting.name for setting in fields(self) if setting.name not in ("token", "serve_token", "uri"))
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        bare = re.sub(r"(:/)[^ ]*@", r"\1…@", shown)
        return f"Settings({bare})"


KEYS = tuple(setting.name for setting in fields(Settings))
"""The keys of `ingest.toml`, which are the long flags with `_` for `-`."""


def read(path: Path) -> dict[str, Any]:
    """Read a configuration file into {key: value}; relative paths in it are taken from its folder.

    Raises ConfigError naming the line for a key that does not exist, a table, or broken TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); pass --config FILE") from error
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        end = f"at line {len(text.splitlines())}, the end of the file"
        fault = str(error).replace("at end of document", end)
        raise ConfigError(f"{path}: {fault}; see https://toml.io for how a value is written") from error
    for key, value in table.items():
        place = f"{path} line {_line(text, key)}"
        if key not in KEYS:
            raise ConfigError(f"{place}: {key} is not a setting{_advise(key)}")
        if isinstance(value, dict | list) or value is None:
            raise ConfigError(f"{place}: {key} must be a plain value, not a {type(value).__name__}")
        if key in _TOKENS:
            raise ConfigError(f"{place}: a token does not belong in a file; set {_TOKENS[key]} in the environment")
        if not _fits(key, value):
            example = _EXAMPLES[_NUMBERS_OR_AUTO.get(key) or _kind(key)]
            raise ConfigError(f"{place}: {key} is {value!r}; write it as in {key} = {example}")
    return {key: _resolve(key, value, path.parent) for key, value in table.items()}


def load(path: Path) -> Settings:
    """Return the settings that a configuration file alone gives, as `read`."""
    values = read(path)
    paths = [key for key in values if key in _PATHS - {"store"} and "://" not in str(values[key])]
    typed: dict[str, Any] = {**values, **{key: Path(values[key]) for key in paths}}
    return Settings(**typed)


def locate_key(path: Path, key: str) -> str:
    """Return the file and the line of a key, as the start of a message."""
    return f"{path} line {_line(path.read_text(encoding='utf-8'), key)}"


def _kind(key: str) -> type:
    kind = type(getattr(Settings(), key))
    return kind if kind in _EXAMPLES else str  # a path, or a setting that is None by default


def _fits(key: str, value: Any) -> bool:
    """Return whether a value has the setting's type; `max_skipped` may be a number or a share."""
    if key in _NUMBERS_OR_AUTO:
        numbers = int | float if _NUMBERS_OR_AUTO[key] is float else int
        return value == "auto" or (isinstance(value, numbers) and not isinstance(value, bool))
    kind = _kind(key)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else int | str if key == "max_skipped" else kind)


def _resolve(key: str, value: Any, folder: Path) -> Any:
    """Return a setting's value, with a path made relative to `folder`, that of the config file."""
    if not isinstance(value, str) or not _is_path(key, value, folder):
        return value
    try:
        return str(folder / Path(value).expanduser())
    except RuntimeError:  # an unknown ~user; whoever opens the path reports it
        return value


def _is_path(key: str, value: str, folder: Path) -> bool:
    if key in ("catalog", "store") and re.match(r"[a-z][a-z0-9+.-]+:/", value, re.IGNORECASE):
        return False  # a URL, also one that lacks a slash
    if key == "store":
        return bool(value)  # "" is the default, in the data folder
    if key == "uri":
        return value.endswith(".db")
    if key == "model":  # a folder, or a name on the hub
        try:
            return (folder / Path(value).expanduser()).is_dir()
        except (OSError, RuntimeError):
            return False
    return key in _PATHS


def _line(text: str, key: str) -> int:
    pattern = re.compile(rf"\s*(\[+\s*)?[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def _advise(key: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key.replace("-", "_"), KEYS, n=1)
    return f" (did you mean {near[0]}?)" if near else "; keys are the flags of ingest run --help-all, with _ for -"
