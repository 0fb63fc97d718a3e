"""Which model is meant, without loading it: a hub id or a local folder, its revision, its space."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.contract import Space
from ingest.embedding import preprocess
from ingest.errors import ModelError

if TYPE_CHECKING:
    from ingest.embedding.preprocess import Preprocessing

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_REACH_S = 10.0
# What transformers takes where a config.json is silent, as google/siglip-base-patch16-224's is.
_DIMS = {"clip": 512, "siglip": 768, "siglip2": 768}
_WAYS_OUT = (
    "connect once, or point HF_HOME at a cache that has it, or pass --model FOLDER with a downloaded checkpoint, "
    "or try the sample: --model data/models/sample-clip"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that can be loaded: `location` is what transformers is given, `revision` its commit or None."""

    location: str
    revision: str | None
    space: Space
    preprocessing: Preprocessing


def resolve(name: str, revision: str | None = None) -> Checkpoint:
    """Find a model's configuration and say which space it embeds into; no weights are read from a hub.

    A hub id's revision in the local cache is taken before the hub is asked, so that a nightly run neither needs
    the network nor changes its model unasked; `revision` chooses another.
    Raises ModelError where the model cannot be had, or is none with pictures and texts in one space.
    """
    try:
        folder = Path(name).expanduser()
        there = folder.is_dir()
    except (OSError, RuntimeError) as error:  # a name longer than the system takes, a ~user who is not there
        raise ModelError(f"{name[:100]}: no such folder ({error})") from error
    if there:
        return _local(folder)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise ModelError(f"{name}: no such folder; --model takes a hub id or a folder with config.json")
    return _hub(name, revision)


def _local(folder: Path) -> Checkpoint:
    config = _json(folder / "config.json", str(folder))
    processor = folder / "preprocessor_config.json"
    if processor.is_file():
        settings = _json(processor, str(folder))
    else:  # transformers 5 saves a whole processor in one file
        settings = _json(folder / "processor_config.json", str(folder)).get("image_processor", {})
    weights = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    if not weights:
        raise ModelError(f"{folder}: no model.safetensors there; copy the checkpoint again")
    digest = hashlib.sha256()
    for path in [folder / "config.json", *weights]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    steps = preprocess.from_config(settings, str(folder))
    dim = _dim(config, str(folder))
    space = Space(folder.resolve().name, f"sha256:{digest.hexdigest()}", dim, asdict(steps))
    return Checkpoint(str(folder), None, space, steps)


def _hub(name: str, revision: str | None) -> Checkpoint:
    config_path = _fetch(name, "config.json", revision)
    commit = config_path.parent.name  # …/snapshots/<commit>/config.json
    config = _json(config_path, name)
    steps = preprocess.from_config(_json(_fetch(name, "preprocessor_config.json", commit), name), name)
    return Checkpoint(name, commit, Space(name, commit, _dim(config, name), asdict(steps)), steps)


def _fetch(name: str, file: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError as error:
        raise ModelError(f"{name}: huggingface_hub cannot be imported ({error}); pip install transformers") from error
    try:
        try:
            return Path(hf_hub_download(name, file, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError:
            _reach()
            return Path(hf_hub_download(name, file, revision=revision))
    except GatedRepoError as error:
        raise ModelError(f"{name}: its owner asks for consent; accept on the hub and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{name}: no revision {revision!r} on the hub; see --model-revision") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{name}: not on the hub, or private; check the spelling or set HF_TOKEN") from error
    except HFValidationError as error:
        raise ModelError(f"{name}: neither a folder nor a hub id such as openai/clip-vit-base-patch32") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name}: the hub cannot be reached and the model is not in the local cache; {_WAYS_OUT}"
        ) from error
    except EntryNotFoundError as error:
        raise ModelError(f"{name}: has no {file} on the hub; choose a CLIP or SigLIP model") from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name}: the hub cannot be reached and the model is not in the local cache; {_WAYS_OUT}"
        ) from error


def _reach() -> None:
    """Ask the hub for anything, once: its own client tries for half a minute, and prints each try."""
    import requests
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE:
        requests.head(constants.ENDPOINT, timeout=_REACH_S)


def _dim(config: dict[str, Any], name: str) -> int:
    vision = config.get("vision_config")
    tower = vision if isinstance(vision, dict) else {}
    dim = config.get("projection_dim") or tower.get("hidden_size") or _DIMS.get(str(config.get("model_type")))
    if not isinstance(dim, int) or not ("text_config" in config or "text_config_dict" in config):
        raise ModelError(f"{name}: not a model of pictures and texts in one space; choose a CLIP or SigLIP model")
    return dim


def _json(path: Path, name: str) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{name}: its {path.name} cannot be read ({error}); copy the checkpoint again") from error
    if not isinstance(table, dict):
        raise ModelError(f"{name}: its {path.name} is not a JSON object")
    return table
