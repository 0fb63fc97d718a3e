"""What a folder or hub repository is if transformers cannot load it, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import (
    OPEN_CLIP_CONFIG,
    OPEN_CLIP_WEIGHTS,
    WEIGHTS,
    CheckpointFolder,
    display,
    read_json,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.embedding.checkpoint_files import CheckpointSource

_OTHER_WEIGHTS = {
    "tf_model.h5": "TensorFlow",
    "flax_model.msgpack": "Flax",
    "onnx/model.onnx": "ONNX",
    "model.onnx": "ONNX",
}
_CACHED = "models--"  # how a model's folder is named in the hub's cache (huggingface_hub, "Understand caching")


def refusal(source: CheckpointSource, otherwise: str) -> ModelError:
    """Return the error for a source that is not a checkpoint: what it is instead, if known, else `otherwise`."""
    try:
        description = _describe(source)
    except ModelError:  # damaged or unreachable: then `otherwise` is what is known
        description = ""
    return ModelError(f"{source.name}: {description or otherwise}")


def _describe(source: CheckpointSource) -> str:
    """Return what the source is and what to do, or "" if unknown; no large file is fetched for it."""
    if (adapter := read_json(source, "adapter_config.json")) is not None:
        kind = str(adapter.get("peft_type", "LORA")).replace("LORA", "LoRA")
        base = adapter.get("base_model_name_or_path") or "its base model"
        return (
            f"is a {display(kind)} adapter for {display(base)}, not a model; merge the two with peft's "
            "merge_and_unload and save that"
        )
    if source.get("modules.json") is not None:
        return f"is a sentence-transformers model; {_inner(source)}"
    if any(map(source.cached, OPEN_CLIP_WEIGHTS)):
        return f"is an open_clip checkpoint without {OPEN_CLIP_CONFIG}; copy it from where the model is from"
    if source.get("model_index.json") is not None:
        return "is a diffusers pipeline, which makes images; choose a CLIP or SigLIP model"
    for file, framework in _OTHER_WEIGHTS.items():
        if source.cached(file) is not None and not any(map(source.cached, WEIGHTS)):
            return f"has weights for {framework} only; choose a checkpoint with model.safetensors"
    return _folder(source.path) if isinstance(source, CheckpointFolder) else ""


def _inner(source: CheckpointSource) -> str:
    """Return what to do with a sentence-transformers model: pass the CLIP in it."""
    inner = _inner_folder(source.path) if isinstance(source, CheckpointFolder) else None
    return f"pass its inner model: --model {inner}" if inner else "choose the CLIP or SigLIP that it is made from"


def _inner_folder(folder: Path) -> Path | None:
    return next((path.parent for path in sorted(folder.glob("*/config.json")) if "text_config" in _read(path)), None)


def _folder(folder: Path) -> str:
    snapshots = sorted(path.parent for path in folder.glob("snapshots/*/config.json"))
    if folder.name.startswith(_CACHED) or snapshots:
        ways = [_hub_id(folder)] if folder.name.startswith(_CACHED) else []
        ways += [str(snapshots[-1])] if snapshots else []
        return f"is a folder in the hub's cache; pass {' or '.join(f'--model {way}' for way in ways)}"
    if cached := sorted([*folder.glob(f"{_CACHED}*"), *folder.glob(f"hub/{_CACHED}*")]):
        return f"is the hub's cache; pass the hub id of a model, such as --model {_hub_id(cached[0])}"
    if inner := sorted(path.parent for path in folder.glob("*/config.json")):
        return f"contains several models; pass the folder of one, such as --model {inner[-1]}"
    return ""


def _hub_id(cached: Path) -> str:
    return cached.name.removeprefix(_CACHED).replace("--", "/")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
