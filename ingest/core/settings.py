"""The settings of a run: one frozen dataclass, and `ingest.toml`, whose keys are the flags' names.

A flag wins over its environment variable (`INGEST_` and the key in capitals), that over the file, that over the
defaults below. The command line is where they meet; here is only what they mean.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ingest.core import contract
from ingest.core.errors import ConfigError

FILE_NAME = "ingest.toml"
# relative to the folder of the file they stand in
_PATHS = {"catalog", "schema", "data", "images_root", "host_headers", "store", "bulk_folder"}
_TOKENS = {"token": "MILVUS_TOKEN", "serve_token": "INGEST_SERVE_TOKEN"}
_EXAMPLES = {bool: "true", int: "32", float: "20.0", str: '"text"'}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a command may be told. Times are in seconds, sizes in bytes. A catalog that is a string is a URL."""

    catalog: Path | str = Path("data/products.csv")
    id_column: str = "product_id"
    image_column: str = "image"
    sample: int = 0
    schema: Path = field(default_factory=contract.default_path)

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
    retry_failed: bool = False
    refresh: bool = False
    refresh_older_than: str = ""
    min_side: int = 0
    max_pixels: int = 64_000_000
    skip_blank: bool = False
    decode_workers: int = 0
    exact: bool = False

    model: str = "openai/clip-vit-base-patch32"
    model_revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | str = "auto"

    engine: str = "threads"
    address: str = "local"
    actors: str = "1"
    gpus_per_actor: float = 0.0
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

    exports: bool = True
    allow_smaller: bool = False
    max_skipped: str = ""

    host: str = "127.0.0.1"
    port: int = 8900
    serve_token: str = ""
    allow_origin: str = ""

    @property
    def batch(self) -> int:
        """The pictures embedded at once; 0 to find out what the device is fastest with."""
        return 0 if self.batch_size == "auto" else int(self.batch_size)

    @property
    def milvus_uri(self) -> str:
        """Where Milvus is; a Milvus Lite file in the data folder where nothing is said."""
        return self.uri or str(self.data / "milvus.db")

    @property
    def store_place(self) -> str:
        """The folder or URL of the vectors; in the data folder where nothing is said."""
        return self.store or str(self.data / "embeddings" / "store")

    @property
    def refresh_after_s(self) -> float | None:
        """How old a fetched picture is when it is compared with its source again, None for never.

        Raises ConfigError where `refresh_older_than` is no duration.
        """
        if not self.refresh_older_than:
            return 0.0 if self.refresh else None
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smhdw])", self.refresh_older_than.strip())
        if match is None:
            raise ConfigError(f"--refresh-older-than {self.refresh_older_than}: a number and s, m, h, d or w: 7d")
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[match[2]]

    @property
    def npy(self) -> Path:
        """The exported vectors; those of a sample have a name of their own."""
        return self.data / "embeddings" / f"clip_embeddings{'_sample' if self.sample else ''}.npy"

    @property
    def npy_ids(self) -> Path:
        """The product ids of the exported vectors' rows."""
        return self.data / "embeddings" / f"embedding_metadata{'_sample' if self.sample else ''}.json"

    @property
    def indexes(self) -> Path:
        """The folder of the FAISS files; those of a sample have one of their own."""
        return self.data / "indexes" / "sample" if self.sample else self.data / "indexes"

    def __repr__(self) -> str:
        """Show all but the tokens, so that no log or traceback carries it."""
        names = (setting.name for setting in fields(self) if setting.name not in ("token", "serve_token", "uri"))
        return f"Settings({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


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
            raise ConfigError(f"{place}: {key} is not a setting{_like(key)}; known: {', '.join(KEYS)}")
        if isinstance(value, dict | list) or value is None:
            raise ConfigError(f"{place}: {key} must be a plain value, not a {type(value).__name__}")
        if key in _TOKENS:
            raise ConfigError(f"{place}: a token does not belong in a file; set {_TOKENS[key]} in the environment")
        if not _fits(key, value):
            example = _EXAMPLES[int if key == "batch_size" else _kind(key)]
            raise ConfigError(f"{place}: {key} is {value!r}; write it as in {key} = {example}")
    return {key: _placed(key, value, path.parent) for key, value in table.items()}


def locate_key(path: Path, key: str) -> str:
    """Return the file and the line in it that a key stands on, to begin a message with."""
    return f"{path} line {_line(path.read_text(encoding='utf-8'), key)}"


def _kind(key: str) -> type:
    kind = type(getattr(Settings(), key))
    return kind if kind in _EXAMPLES else str  # a path, or a setting that is None until it is set


def _fits(key: str, value: Any) -> bool:
    """Tell whether a value has the type of the setting; `max_skipped` is a number as well as a share."""
    if key == "batch_size":
        return value == "auto" or (isinstance(value, int) and not isinstance(value, bool))
    kind = _kind(key)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else int | str if key == "max_skipped" else kind)


def _placed(key: str, value: Any, folder: Path) -> Any:
    if not isinstance(value, str):
        return value
    if (key in ("catalog", "store") and "://" in value) or (key == "store" and not value):
        return value
    try:
        here = folder / Path(value).expanduser()
        is_folder = here.is_dir()
    except (OSError, RuntimeError):  # too long for a name, a ~user who is not there: said by who uses it
        return value
    if key in _PATHS or (key == "model" and is_folder) or (key == "uri" and value.endswith(".db")):
        return str(here)
    return value


def _line(text: str, key: str) -> int:
    pattern = re.compile(rf"\s*(\[+\s*)?[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def _like(key: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key.replace("-", "_"), KEYS, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
