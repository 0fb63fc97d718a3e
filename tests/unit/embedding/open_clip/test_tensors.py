"""Weights that are wrapped, pickled, damaged, too few or too many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.late import torch
from support.open_clip_checkpoints import SIDE, write_open_clip

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
TEXTS = ["red cup"]


def loaded(folder: Path) -> ClipEncoder:
    return ClipEncoder(resolve(str(folder)), "cpu", "float32", 1)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "open_clip_model.safetensors")


def save(folder: Path, changed: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(changed, folder / "open_clip_model.safetensors")


def same(folder: Path, other: Path) -> None:
    np.testing.assert_array_equal(loaded(folder).images(PIXELS), loaded(other).images(PIXELS))
    np.testing.assert_array_equal(loaded(folder).texts(TEXTS), loaded(other).texts(TEXTS))


@pytest.fixture(params=["vit", "siglip"])
def folder(request, tmp_path) -> Path:
    return write_open_clip(tmp_path / "model", request.param)


@pytest.fixture
def original(folder, tmp_path) -> Path:
    import shutil

    return shutil.copytree(folder, tmp_path / "original")


def test_names_of_a_distributed_training_run_are_unwrapped(folder, original):
    save(folder, {f"module.{name}": tensor for name, tensor in tensors(folder).items()})
    same(folder, original)


@pytest.mark.parametrize("inner", [lambda found: found, lambda found: {"epoch": 3, "state_dict": found}])
def test_a_pickle_of_tensors_is_loaded(folder, original, inner):
    torch.save(inner(tensors(folder)), folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_model.safetensors").unlink()
    same(folder, original)


def test_a_pickle_that_would_run_code_is_refused(folder, tmp_path):
    class Evil:
        def __reduce__(self) -> object:
            return (print, ("run",), None)

    torch.save({"visual.proj": Evil()}, folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        loaded(folder).images(PIXELS)
    assert len(str(caught.value).splitlines()) == 1


def test_masks_and_settings_that_old_versions_saved_are_no_weights(folder, original):
    more = {"attn_mask": torch.zeros(2, 2), "input_resolution": torch.tensor(224), "text.attn_mask": torch.zeros(2, 2)}
    if not any(name.startswith("text.") for name in tensors(folder)):
        del more["text.attn_mask"]
    save(folder, tensors(folder) | more)
    same(folder, original)


def test_missing_weights_are_refused_rather_than_made_up(folder):
    found = tensors(folder)
    lost = {"visual.ln_post.bias", "visual.trunk.norm.bias"}
    save(folder, {name: tensor for name, tensor in found.items() if name not in lost})
    with pytest.raises(ModelError, match=r"its weights lack (vision_model\.)?post_layernorm\.bias and 0 more"):
        loaded(folder).images(PIXELS)
    assert loaded(folder).texts(TEXTS).shape[0] == 1, "the text tower is whole"


@pytest.mark.parametrize("name", ["visual.transformer.resblocks.0.ls_1.gamma", "visual.trunk.blocks.0.ls1.gamma"])
def test_weights_that_the_settings_do_not_describe_are_refused(folder, name):
    save(folder, tensors(folder) | {name: torch.ones(48)})
    with pytest.raises(ModelError, match=f"its weights have {name} and 0 more that its open_clip_config.json does not"):
        loaded(folder).images(PIXELS)


def test_weights_of_another_size_are_refused(folder):
    found = tensors(folder)
    name = next(one for one in found if one.endswith("token_embedding.weight"))
    save(folder, found | {name: torch.ones(20, found[name].shape[1])})
    with pytest.raises(
        ModelError, match=r"its weights' .*token_embedding\.weight has the size 20 × \d+, not \d+ × \d+"
    ):
        loaded(folder).texts(TEXTS)


@pytest.mark.parametrize(
    ("part", "changes", "words"),
    [
        ("vision_cfg", {"image_size": 64}, "position_embedding.weight has the size 4 × 48, not 16 × 48"),
        (
            "vision_cfg",
            {"timm_model_name": "vit_base_patch32_siglip_256"},
            "has the size 48 × 3 × 16 × 16, not 48 × 3 × 32",
        ),
        ("text_cfg", {"context_length": 20}, "position_embedding.weight has the size 12 × 48, not 20 × 48"),
        ("text_cfg", {"layers": 1}, "its weights have encoder.layers.1."),
        ("text_cfg", {"layers": 3}, "its weights lack encoder.layers.2."),
        ("", {"embed_dim": 60}, "not 60"),
    ],
)
def test_settings_that_are_not_the_weights_are_refused(tmp_path, part, changes, words):
    folder = write_open_clip(tmp_path / "model", "siglip")
    path = folder / "open_clip_config.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    (table["model_cfg"][part] if part else table["model_cfg"]).update(changes)
    path.write_text(json.dumps(table), encoding="utf-8")
    encoder = loaded(folder)
    side = encoder._checkpoint.preprocessing.height
    with pytest.raises(ModelError) as caught:
        encoder.images(np.zeros((1, side, side, 3), np.uint8))
        encoder.texts(TEXTS)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"not weights" * 100])
def test_a_damaged_file_is_one_line(folder, content):
    (folder / "open_clip_model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"open_clip_model\.safetensors is damaged"):
        loaded(folder)


def test_a_file_cut_off_is_one_line(folder):
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"open_clip_model\.safetensors is damaged"):
        loaded(folder)
