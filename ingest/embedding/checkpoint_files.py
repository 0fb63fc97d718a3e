"""The files of a checkpoint, in a folder or on the hub: which are needed, and whether they are complete."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ingest.core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# In transformers' own order; an index names the shards.
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""In the order in which they are chosen, which is open_clip's."""
# The files that make a tokenizer: WordPiece, sentencepiece, byte-level BPE, or one file for any of them.
_VOCABULARIES = (
    ("vocab.txt",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("tokenizer.json",),
)
# In the order of fetching: the vocabulary comes last, so that an interrupted download does not look complete.
_TOKENIZER = (
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer_config.json",
    *(file for files in _VOCABULARIES for file in files),
)
_LFS = b"version https://git-lfs.github.com/spec/"  # the beginning of a pointer (git-lfs, docs/spec.md)


class CheckpointSource(Protocol):
    """The files of a checkpoint, wherever they are."""

    @property
    def name(self) -> str:
        """The hub id or the folder, for messages."""

    @property
    def fix(self) -> str:
        """What to do about a damaged file."""

    def cached(self, file: str) -> Path | None:
        """Return a file that is on this machine, or None."""

    def get(self, file: str) -> Path | None:
        """Return a file, fetched if necessary, or None if the checkpoint does not have it.

        Raises ModelError if the hub cannot be reached.
        """

    def has(self, file: str) -> bool:
        """Return whether the checkpoint has a file, without fetching it.

        Raises ModelError if the hub cannot be reached.
        """

    def sha256(self, file: str) -> str:
        """Return the SHA-256 of a file that the checkpoint has, in hex; not fetched if the hub says what it is.

        Raises ModelError if the file is missing or the hub cannot be reached.
        """

    def reach(self, file: str) -> None:
        """Raise ModelError if `file`, which is not on this machine, cannot be fetched either."""


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """A checkpoint in a folder."""

    path: Path

    @property
    def name(self) -> str:
        """The folder, as it was given."""
        return str(self.path)

    @property
    def fix(self) -> str:
        """What to do about a damaged file."""
        return "copy the checkpoint again"

    def cached(self, file: str) -> Path | None:
        """Return a file of the folder, or None."""
        path = self.path / file
        return path if path.is_file() else None

    def get(self, file: str) -> Path | None:
        """Return a file of the folder, or None."""
        return self.cached(file)

    def has(self, file: str) -> bool:
        """Return whether the folder has a file."""
        return self.cached(file) is not None

    def sha256(self, file: str) -> str:
        """Return the SHA-256 of a file, in hex; raises ModelError if it is missing."""
        if (path := self.cached(file)) is None:
            self.reach(file)
        return hash_file(self.path / file if path is None else path)

    def reach(self, file: str) -> None:
        """Raise ModelError, because a file missing from a folder cannot be fetched."""
        raise ModelError(f"{self.name}: its {file} is missing; {self.fix}")


def read_json(
    source: CheckpointSource, file: str, look: Callable[[str], Path | None] | None = None
) -> dict[str, Any] | None:
    """Return a JSON object of the checkpoint, or None if it has no such file; `look` is `source.get` by default."""
    path = (look or source.get)(file)
    if path is None:
        return None
    check_pointer(source, path)
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{source.name}: its {file} cannot be read ({error}); {source.fix}") from error
    if not isinstance(table, dict):
        raise ModelError(f"{source.name}: its {file} is not a JSON object; {source.fix}")
    return table


def find_weights(source: CheckpointSource, names: Sequence[str] = WEIGHTS) -> list[Path]:
    """Return the files that the weights are loaded from, fetched if necessary; [] if there are none.

    `names` are those that they may have, the best first. Raises ModelError for a shard that is missing, and for a file
    that is cut off or a git-lfs pointer.
    """
    head = next(filter(source.cached, names), None) or next(filter(source.get, names), None)
    if head is None:
        return []
    files = []
    for name in _shards(source, head) if head.endswith(".json") else [head]:
        if (path := source.get(name)) is None:
            raise ModelError(f"{source.name}: {display(name)}, which its {head} names, is missing; {source.fix}")
        _check_weights(source, path)
        files.append(path)
    return files


def has_weights(source: CheckpointSource, names: Sequence[str] = WEIGHTS) -> bool:
    """Return whether all the weights are on this machine."""
    head = next(filter(source.cached, names), None)
    if head is None:
        return False
    return not head.endswith(".json") or all(map(source.cached, _shards(source, head)))


def find_tokenizer(source: CheckpointSource) -> list[Path]:
    """Return the files of the tokenizer, fetched if necessary.

    Raises ModelError if they are missing: transformers would make an empty tokenizer, for which all texts are equal.
    """
    if not (_has_tokenizer(source) and source.cached("tokenizer_config.json")):
        try:
            for file in _TOKENIZER:
                source.get(file)
        except ModelError:
            if not _has_tokenizer(source):
                raise
    if not _has_tokenizer(source):
        raise ModelError(
            f"{source.name}: its tokenizer is missing, so texts cannot be embedded; copy tokenizer.json and "
            "tokenizer_config.json from where the model is from"
        )
    found = [path for path in map(source.cached, _TOKENIZER) if path is not None]
    for path in found:
        check_pointer(source, path)
    return found


def check_pointer(source: CheckpointSource, path: Path) -> None:
    """Raise ModelError for a git-lfs pointer: a clone without git-lfs has one instead of each large file."""
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise ModelError(
                f"{source.name}: its {path.name} is a git-lfs pointer, not the file itself; run git lfs pull there"
            )


def hash_file(path: Path) -> str:
    """Return a file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def display(text: object) -> str:
    """Return text from a file for a message: short, and without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))[:100]


def _has_tokenizer(source: CheckpointSource) -> bool:
    return any(all(map(source.cached, files)) for files in _VOCABULARIES)


def _shards(source: CheckpointSource, index: str) -> list[str]:
    shards = (read_json(source, index) or {}).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(name, str) for name in shards.values()):
        raise ModelError(f"{source.name}: its {index} names no files; {source.fix}")
    return sorted(set(shards.values()))


def _check_weights(source: CheckpointSource, path: Path) -> None:
    check_pointer(source, path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy"):
                return  # its header notes the file's length
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{source.name}: its {path.name} is damaged ({error}); {source.fix}") from error
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if path.stat().st_size == 0 or (zipped and not zipfile.is_zipfile(path)):
        raise ModelError(f"{source.name}: its {path.name} is cut off; {source.fix}")
