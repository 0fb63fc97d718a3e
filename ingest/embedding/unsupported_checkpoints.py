"""What a folder or a repository of the hub is that is not a checkpoint of transformers, and what to do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint_files import WEIGHTS, CheckpointFolder, display, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.embedding.checkpoint_files import CheckpointSource

_OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_OTHER_WEIGHTS = {
    "tf_model.h5": "TensorFlow",
    "flax_model.msgpack": "Flax",
    "onnx/model.onnx": "ONNX",
    "model.onnx": "ONNX",
}
_CACHED = "models--"  # how the hub's cache names a model's folder (huggingface_hub, "Understand caching")


def refusal(source: CheckpointSource, otherwise: str) -> ModelError:
    """Return what to raise for a source that is no checkpoint: what it is instead, if that can be said."""
    try:
        said = _describe(source)
    except ModelError:  # damaged, or out of reach: the first thing found counts
        said = ""
    return ModelError(f"{source.name}: {said or otherwise}")


def _describe(source: CheckpointSource) -> str:
    """Return what the source is and what to do, or "" if nobody knows; nothing large is fetched to find out."""
    if (adapter := read_json(source, "adapter_config.json")) is not None:
        kind = str(adapter.get("peft_type", "LORA")).replace("LORA", "LoRA")
        base = adapter.get("base_model_name_or_path") or "its base model"
        return (
            f"is a {display(kind)} adapter for {display(base)}, not a model; merge the two with peft's "
            "merge_and_unload and save that"
        )
    if source.get("modules.json") is not None:
        return f"is a sentence-transformers model; {_inner(source)}"
    if source.get("open_clip_config.json") is not None or any(map(source.cached, _OPEN_CLIP_WEIGHTS)):
        return (
            "is an open_clip checkpoint, which transformers cannot load; convert it, or choose a model that is "
            "published for transformers too, such as laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
        )
    if source.get("model_index.json") is not None:
        return "is a diffusers pipeline, which makes images; choose a CLIP or SigLIP model"
    for file, framework in _OTHER_WEIGHTS.items():
        if source.cached(file) is not None and not any(map(source.cached, WEIGHTS)):
            return f"has weights for {framework} only; choose a checkpoint with model.safetensors"
    return _folder(source.path) if isinstance(source, CheckpointFolder) else ""


def _inner(source: CheckpointSource) -> str:
    """Say where in a sentence-transformers model its CLIP is."""
    inner = _inner_folder(source.path) if isinstance(source, CheckpointFolder) else None
    return f"pass its inner model: --model {inner}" if inner else "choose the CLIP or SigLIP that it is made from"


def _inner_folder(folder: Path) -> Path | None:
    return next((path.parent for path in sorted(folder.glob("*/config.json")) if "text_config" in _read(path)), None)


def _folder(folder: Path) -> str:
    snapshots = sorted(path.parent for path in folder.glob("snapshots/*/config.json"))
    if folder.name.startswith(_CACHED) or snapshots:
        ways = [_hub_id(folder)] if folder.name.startswith(_CACHED) else []
        ways += [str(snapshots[-1])] if snapshots else []
        return f"is a folder of the hub's cache; pass {' or '.join(f'--model {way}' for way in ways)}"
    if cached := sorted([*folder.glob(f"{_CACHED}*"), *folder.glob(f"hub/{_CACHED}*")]):
        return f"is the hub's cache; pass a model's hub id, such as --model {_hub_id(cached[0])}"
    if inner := sorted(path.parent for path in folder.glob("*/config.json")):
        return f"holds models in folders of their own; pass one of them, such as --model {inner[-1]}"
    return ""


def _hub_id(cached: Path) -> str:
    return cached.name.removeprefix(_CACHED).replace("--", "/")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
