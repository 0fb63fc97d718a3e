"""Finds a model without loading it: a hub id or a folder → its revision, embedding space and preprocessing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.core.contract import Space
from ingest.core.errors import ModelError
from ingest.embedding import checkpoint_files, preprocess, unsupported_checkpoints
from ingest.embedding.hub import HubRepository
from ingest.embedding.open_clip.identity import identify, is_open_clip, read_configuration

if TYPE_CHECKING:
    from ingest.embedding.checkpoint_files import CheckpointSource
    from ingest.embedding.open_clip.architecture import Architecture
    from ingest.embedding.preprocess import Preprocessing

# All of these in a folder are hashed, also those that transformers does not load: its revision must not change.
_HASHED = ("*.safetensors", "pytorch_model*.bin")
# Defaults of transformers' configuration classes; google/siglip-base-patch16-224's config.json relies on them.
_PROJECTED = {"clip": 512, "metaclip_2": 512, "altclip": 768}
_WIDTH = {"siglip": 768}
_SIDE, _PATCHES = 224, {"clip": 32, "siglip": 16}
_NAFLEX = "siglip2"  # SigLIP 2 at a fixed size has the type siglip (google/siglip2-base-patch16-224's config.json)
# By transformers' model_type, for people.
_FAMILIES = {
    "clip": "CLIP",
    "siglip": "SigLIP",
    "chinese_clip": "Chinese-CLIP",
    "altclip": "AltCLIP",
    "metaclip_2": "MetaCLIP 2",
}
_HUB = "hf-hub:"  # how open_clip writes a hub id


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that can be loaded: `location` is its hub id or folder, `revision` its commit, or None for a folder.

    `family` says what it is, for people; `open_clip` is set if it is an open_clip checkpoint, not one of transformers.
    """

    location: str
    revision: str | None
    space: Space
    preprocessing: Preprocessing
    family: str = ""
    open_clip: Architecture | None = None

    @property
    def source(self) -> CheckpointSource:
        """Its files, on the machine that asks."""
        return (
            checkpoint_files.CheckpointFolder(Path(self.location))
            if self.revision is None
            else HubRepository(self.location, self.revision)
        )


def resolve(name: str, revision: str | None = None) -> Checkpoint:
    """Find a model's configuration and tokenizer, and return its embedding space; weights are not fetched from a hub.

    A revision in the local cache is used before the hub is asked, so that a nightly run needs no network and does not
    change its model by itself; `revision` chooses another. A hub id may be written as open_clip does, `hf-hub:…`.
    Raises ModelError if the model is missing or incomplete, or does not embed images and texts in one space.
    """
    if name.startswith(_HUB):
        return _hub(name.removeprefix(_HUB), revision)
    try:
        folder = Path(name).expanduser()
        is_folder, is_file = folder.is_dir(), folder.is_file()
    except (OSError, RuntimeError) as error:  # a name too long for the system, a ~user that does not exist
        raise ModelError(f"{name[:100]}: no such folder ({error})") from error
    if is_folder:
        return _local(folder)
    if is_file:
        raise ModelError(f"{name}: is a file; --model takes a hub id or a folder with config.json")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        raise ModelError(f"{name}: no such folder; --model takes a hub id or a folder with config.json")
    return _hub(name, revision)


def describe(source: CheckpointSource) -> tuple[int, str, bool]:
    """Return the vectors' dim, the family, and whether all weights are on this machine; raises ModelError."""
    if is_open_clip(source):
        known, _ = read_configuration(source)
        return known.dim, known.family, checkpoint_files.has_weights(source, checkpoint_files.OPEN_CLIP_WEIGHTS)
    dim, _, family = _read(source)
    return dim, family, checkpoint_files.has_weights(source)


def _local(folder: Path) -> Checkpoint:
    source = checkpoint_files.CheckpointFolder(folder)
    model = folder.resolve().name
    if is_open_clip(source):
        checkpoint_files.find_weights(source, checkpoint_files.OPEN_CLIP_WEIGHTS)
        return _open_clip(source, str(folder), None, model)
    dim, steps, family = _read(source)
    if not checkpoint_files.find_weights(source):
        raise unsupported_checkpoints.refusal(source, "has no model.safetensors; copy the checkpoint again")
    checkpoint_files.find_tokenizer(source)
    digest = hashlib.sha256()
    for path in [folder / "config.json", *sorted(path for pattern in _HASHED for path in folder.glob(pattern))]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    space = Space(model, f"sha256:{digest.hexdigest()}", dim, steps.settings)
    return Checkpoint(str(folder), None, space, steps, family)


def _hub(name: str, revision: str | None) -> Checkpoint:
    source = HubRepository(name, revision)
    config_path = _find_configuration(source)
    if config_path is None:
        raise unsupported_checkpoints.refusal(source, "has no config.json on the hub; choose a CLIP or SigLIP model")
    commit = config_path.parent.name  # …/snapshots/<commit>/config.json
    source = HubRepository(name, commit)
    if is_open_clip(source):
        return _open_clip(source, name, commit, name)
    dim, steps, family = _read(source)
    checkpoint_files.find_tokenizer(source)
    return Checkpoint(name, commit, Space(name, commit, dim, steps.settings), steps, family)


def _open_clip(source: CheckpointSource, location: str, commit: str | None, model: str) -> Checkpoint:
    found = identify(source)
    steps = found.preprocessing
    space = Space(model, found.revision, found.architecture.dim, steps.settings)
    return Checkpoint(location, commit, space, steps, found.architecture.family, found.architecture)


def _find_configuration(source: HubRepository) -> Path | None:
    """Return transformers' configuration or open_clip's, the latter also if only the hub knows whether it has both."""
    try:
        return source.get("config.json") or source.get(checkpoint_files.OPEN_CLIP_CONFIG)
    except ModelError:
        if (cached := source.cached(checkpoint_files.OPEN_CLIP_CONFIG)) is None:
            raise
        return cached


def _read(source: CheckpointSource) -> tuple[int, Preprocessing, str]:
    """Return the vectors' dim, the preprocessing, checked against the model, and the family."""
    config = checkpoint_files.read_json(source, "config.json")
    if config is None:
        raise unsupported_checkpoints.refusal(
            source, "has no config.json; pass a folder written by transformers' save_pretrained"
        )
    if config.get("model_type") == _NAFLEX:
        raise ModelError(
            f"{source.name}: is a SigLIP 2 NaFlex, which takes images of any size; choose a SigLIP 2 of a fixed size, "
            "such as google/siglip2-base-patch16-224"
        )
    dim = _dim(config, source)
    steps = preprocess.from_config(_steps(source), source.name)
    _check_size(config, steps, source)
    kind = checkpoint_files.display(config.get("model_type"))
    return dim, steps, _FAMILIES.get(kind, kind)


def _steps(source: CheckpointSource) -> dict[str, Any]:
    """Return the image processor's settings; transformers 5 may save them with the tokenizer's."""
    for look in (source.cached, source.get):
        if (own := checkpoint_files.read_json(source, "preprocessor_config.json", look)) is not None:
            return own
        whole = checkpoint_files.read_json(source, "processor_config.json", look) or {}
        if isinstance(steps := whole.get("image_processor"), dict):
            return steps
    raise ModelError(
        f"{source.name}: has no preprocessor_config.json, which says what pixels the model expects; copy it from "
        "where the model is from"
    )


def _dim(config: dict[str, Any], source: CheckpointSource) -> int:
    """Return the vectors' dim: CLIP's is `projection_dim`, SigLIP's the width of its vision tower."""
    kind = checkpoint_files.display(config.get("model_type"))
    width = _tower(config, "vision").get("hidden_size") or _WIDTH.get(kind)
    dim = config.get("projection_dim") or _PROJECTED.get(kind) or width
    if not isinstance(dim, int) or not ("text_config" in config or "text_config_dict" in config):
        raise unsupported_checkpoints.refusal(
            source,
            f"not a model of images and texts in one space (its model_type is {kind}); choose a CLIP or SigLIP model",
        )
    return dim


def _check_size(config: dict[str, Any], steps: Preprocessing, source: CheckpointSource) -> None:
    """Raise ModelError if the preprocessing makes images of a size that the vision tower does not take.

    CLIP takes one size, SigLIP any with the same number of patches. Other models are not checked.
    """
    kind, vision = str(config.get("model_type")), _tower(config, "vision")
    side, patch = vision.get("image_size", _SIDE), vision.get("patch_size", _PATCHES.get(kind))
    if kind not in _PATCHES or not isinstance(side, int) or not isinstance(patch, int) or patch < 1:
        return
    same_patches = (steps.height // patch) * (steps.width // patch) == (side // patch) ** 2
    if (steps.height, steps.width) != (side, side) and not (kind == "siglip" and same_patches):
        raise ModelError(
            f"{source.name}: its preprocessing makes images of {steps.height} × {steps.width} pixels and its model "
            f"takes {side} × {side}; copy config.json and preprocessor_config.json from the same model"
        )


def _tower(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a tower's settings; in old CLIP files `…_config_dict` overrides `…_config`, as in transformers."""
    tables = [table for key in (f"{name}_config", f"{name}_config_dict") if isinstance(table := config.get(key), dict)]
    return {key: value for table in tables for key, value in table.items()}
