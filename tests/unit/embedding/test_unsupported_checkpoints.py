"""Folders with a model that cannot be loaded: each is named, with what to do."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint import resolve

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = "model.safetensors"


def adapter(folder: Path, clip: Path, **settings: str) -> Path:
    folder.mkdir()
    settings = {"base_model_name_or_path": "openai/clip-vit-base-patch32"} | settings
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    shutil.copy(clip / WEIGHTS, folder / "adapter_model.safetensors")
    return folder


def adapter_beside_its_configuration(folder: Path, clip: Path) -> Path:
    """As a Trainer's checkpoint is saved."""
    adapter(folder, clip, peft_type="LORA")
    for path in clip.glob("*.json"):
        shutil.copy(path, folder)
    return folder


def open_clip(folder: Path, clip: Path, weights: str = "open_clip_model.safetensors") -> Path:
    folder.mkdir()
    shutil.copy(clip / WEIGHTS, folder / weights)
    shutil.copy(clip / "tokenizer.json", folder)
    return folder


def open_clip_with_configuration(folder: Path, clip: Path) -> Path:
    open_clip(folder, clip)
    for name in ("config.json", "preprocessor_config.json"):
        shutil.copy(clip / name, folder)
    return folder


def sentence_transformers(folder: Path, clip: Path) -> Path:
    shutil.copytree(clip, folder / "0_CLIPModel")
    (folder / "modules.json").write_text('[{"idx": 0, "path": "0_CLIPModel"}]')
    return folder


def hub_cache(folder: Path, clip: Path) -> Path:
    folder = folder / "models--acme--tiny-clip"
    shutil.copytree(clip, folder / "snapshots" / "abc123")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc123")
    return folder


def whole_hub_cache(folder: Path, clip: Path) -> Path:
    hub_cache(folder / "hub", clip)
    return folder


def empty_hub_cache(folder: Path, clip: Path) -> Path:
    folder = folder / "models--acme--tiny-clip"
    (folder / "blobs").mkdir(parents=True)
    return folder


def training_run(folder: Path, clip: Path) -> Path:
    shutil.copytree(clip, folder / "checkpoint-500")
    return folder


def diffusers(folder: Path, clip: Path) -> Path:
    shutil.copytree(clip, folder / "text_encoder")
    (folder / "model_index.json").write_text("{}")
    return folder


def other_weights(file: str, folder: Path, clip: Path) -> Path:
    shutil.copytree(clip, folder)
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / WEIGHTS).rename(folder / file)
    return folder


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (adapter, "is a LoRA adapter for openai/clip-vit-base-patch32, not a model; merge the two with peft's"),
        (lambda folder, clip: adapter(folder, clip, peft_type="IA3"), "is a IA3 adapter for openai"),
        (
            lambda folder, clip: adapter(folder, clip, base_model_name_or_path="a\x1b[31m\nb"),
            "is a LoRA adapter for a?[31m?b,",
        ),
        (adapter_beside_its_configuration, "is a LoRA adapter"),
        (open_clip, "is an open_clip checkpoint without open_clip_config.json; copy it from"),
        (
            lambda folder, clip: open_clip(folder, clip, "open_clip_pytorch_model.bin"),
            "is an open_clip checkpoint without open_clip_config.json",
        ),
        (open_clip_with_configuration, "is an open_clip checkpoint without open_clip_config.json"),
        (sentence_transformers, "is a sentence-transformers model; pass its inner model: --model {}/0_CLIPModel"),
        (hub_cache, "is a folder in the hub's cache; pass --model acme/tiny-clip or --model {}/snapshots/abc123"),
        (empty_hub_cache, "is a folder in the hub's cache; pass --model acme/tiny-clip"),
        (whole_hub_cache, "is the hub's cache; pass the hub id of a model, such as --model acme/tiny-clip"),
        (training_run, "contains several models; pass the folder of one, such as --model {}/checkpoint-500"),
        (diffusers, "is a diffusers pipeline, which makes images; choose a CLIP or SigLIP model"),
        (lambda *where: other_weights("tf_model.h5", *where), "has weights for TensorFlow only"),
        (lambda *where: other_weights("flax_model.msgpack", *where), "has weights for Flax only"),
        (lambda *where: other_weights("onnx/model.onnx", *where), "has weights for ONNX only"),
        (lambda *where: other_weights("model.fp16.safetensors", *where), "has no model.safetensors"),
    ],
)
def test_a_folder_that_is_not_a_checkpoint_is_named(tiny_clip, tmp_path, make, words):
    folder = make(tmp_path / "model", tiny_clip)
    with pytest.raises(ModelError) as caught:
        resolve(str(folder))
    assert str(caught.value).startswith(f"{folder}: {words.format(folder)}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("file", ["open_clip_config.json", "modules.json", "model_index.json", "tf_model.h5"])
def test_a_checkpoint_that_is_also_something_else_is_accepted(tiny_clip, tmp_path, file):
    """As laion's on the hub: for open_clip and for transformers."""
    folder = shutil.copytree(tiny_clip, tmp_path / "model")
    (folder / file).write_text("{}")
    assert resolve(str(folder)).space.dim == 16


@pytest.mark.parametrize("kind", ["clip_vision_model", "clip_text_model", "vit", "dinov2"])
def test_half_of_a_model_is_refused(tiny_clip, tmp_path, kind):
    folder = shutil.copytree(tiny_clip, tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "projection_dim": 16}))
    with pytest.raises(ModelError, match=rf"not a model of images and texts in one space \(its model_type is {kind}\)"):
        resolve(str(folder))
