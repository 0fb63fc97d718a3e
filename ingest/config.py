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

from ingest import contract
from ingest.errors import ConfigError

FILE_NAME = "ingest.toml"
_PATHS = {"catalog", "schema", "data"}  # relative to the folder of the file they stand in


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a command may be told. Times are in seconds, sizes in bytes."""

    catalog: Path = Path("data/products.csv")
    id_column: str = "product_id"
    image_column: str = "image"
    sample: int = 0
    schema: Path = field(default_factory=contract.default_path)
    data: Path = Path("data")

    download_missing: bool = False
    download_workers: int = 32
    download_timeout: float = 20.0
    download_tries: int = 3
    max_image_bytes: int = 20 * 2**20
    decode_workers: int = 0

    model: str = "openai/clip-vit-base-patch32"
    model_revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int = 32

    uri: str = ""
    token: str = ""
    db_name: str = ""
    max_wait: float = 60.0

    exports: bool = True
    max_skipped: str = ""

    prune: bool = False
    drop_failed: bool = False
    max_prune: float = 0.2

    @property
    def milvus_uri(self) -> str:
        """Where Milvus is; a Milvus Lite file in the data folder where nothing is said."""
        return self.uri or str(self.data / "milvus.db")

    @property
    def npy(self) -> Path:
        """The exported vectors."""
        return self.data / "embeddings" / "clip_embeddings.npy"

    @property
    def npy_ids(self) -> Path:
        """The product ids of the exported vectors' rows."""
        return self.data / "embeddings" / "embedding_metadata.json"

    @property
    def indexes(self) -> Path:
        """The folder of the FAISS files."""
        return self.data / "indexes"

    def __repr__(self) -> str:
        """Show all but the token, so that no log or traceback carries it."""
        names = (setting.name for setting in fields(self) if setting.name not in ("token", "uri"))
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
        raise ConfigError(f"{path}: {error}; see https://toml.io for how a value is written") from error
    for key, value in table.items():
        place = f"{path} line {_line(text, key)}"
        if key not in KEYS:
            raise ConfigError(f"{place}: {key} is not a setting{_like(key)}; known: {', '.join(KEYS)}")
        if isinstance(value, dict | list) or value is None:
            raise ConfigError(f"{place}: {key} must be a plain value, not a {type(value).__name__}")
        if key == "token":
            raise ConfigError(f"{place}: a token does not belong in a file; set MILVUS_TOKEN in the environment")
    return {key: _placed(key, value, path.parent) for key, value in table.items()}


def _placed(key: str, value: Any, folder: Path) -> Any:
    if not isinstance(value, str):
        return value
    here = folder / Path(value).expanduser()
    if key in _PATHS or (key == "model" and here.is_dir()) or (key == "uri" and value.endswith(".db")):
        return str(here)
    return value


def _line(text: str, key: str) -> int:
    pattern = re.compile(rf"\s*(\[+\s*)?[\"']?{re.escape(key)}[\"']?\s*[=.\]]")
    return next((number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1)


def _like(key: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key.replace("-", "_"), KEYS, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
