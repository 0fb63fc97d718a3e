"""Checkpoints with files that are missing, truncated or git-lfs pointers."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint import resolve
from ingest.embedding.checkpoint_files import CheckpointFolder, find_tokenizer, find_weights, has_weights

if TYPE_CHECKING:
    from pathlib import Path

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 605157884\n"


@pytest.fixture
def model(tiny_clip, tmp_path) -> Path:
    return shutil.copytree(tiny_clip, tmp_path / "model")


@pytest.fixture
def sharded(tiny_clip, tmp_path) -> Path:
    """Return a checkpoint whose weights are in several files."""
    from transformers import CLIPModel

    folder = shutil.copytree(tiny_clip, tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    CLIPModel.from_pretrained(tiny_clip).save_pretrained(folder, max_shard_size="40KB")
    return folder


def refused(folder: Path) -> str:
    """Return the error line for a folder."""
    with pytest.raises(ModelError) as caught:
        resolve(str(folder))
    message = str(caught.value)
    assert message.startswith(f"{folder}: ")
    assert "; " in message, "it must say what to do"
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    "file",
    ["model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json", "preprocessor_config.json"],
)
def test_a_git_lfs_pointer_is_named(model, file):
    (model / file).write_text(POINTER)
    assert f"its {file} is a git-lfs pointer, not the file itself; run git lfs pull there" in refused(model)


def test_a_git_lfs_pointer_of_the_old_format_is_named(model):
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_text(POINTER)
    assert "its pytorch_model.bin is a git-lfs pointer" in refused(model)


def test_a_missing_shard_is_named(sharded):
    shards = sorted(sharded.glob("model-*.safetensors"))
    assert find_weights(CheckpointFolder(sharded)) == shards
    assert has_weights(CheckpointFolder(sharded))
    shards[1].unlink()
    assert not has_weights(CheckpointFolder(sharded))
    assert f"{shards[1].name}, which its model.safetensors.index.json names, is missing" in refused(sharded)


def test_a_shard_that_is_a_pointer_is_named(sharded):
    shard = max(sharded.glob("model-*.safetensors"))
    shard.write_text(POINTER)
    assert f"its {shard.name} is a git-lfs pointer" in refused(sharded)


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": ["a"]}, {"weight_map": {"a": 1}}])
def test_an_index_that_names_no_shards_is_damaged(sharded, index):
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "its model.safetensors.index.json names no files" in refused(sharded)


@pytest.mark.parametrize("left", [0, 7, 100, -1], ids=["empty", "no header", "in the header", "the last byte"])
def test_truncated_weights_are_damaged(model, left):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:left])
    assert "its model.safetensors is damaged" in refused(model)


@pytest.mark.parametrize("left", [0, -100], ids=["empty", "the end"])
def test_truncated_weights_of_the_old_format_are_damaged(model, left):
    import torch

    (model / "model.safetensors").unlink()
    torch.save({"weights": torch.zeros(100)}, model / "pytorch_model.bin")
    (model / "pytorch_model.bin").write_bytes((model / "pytorch_model.bin").read_bytes()[:left])
    assert "its pytorch_model.bin is cut off" in refused(model)


def test_a_folder_without_a_tokenizer_is_refused(model):
    for path in model.glob("tokenizer*"):
        path.unlink()
    assert "its tokenizer is missing, so texts cannot be embedded; copy tokenizer.json" in refused(model)


@pytest.mark.parametrize(
    "files", [["vocab.json", "merges.txt"], ["vocab.txt"], ["spiece.model"], ["tokenizer.model"], ["tokenizer.json"]]
)
def test_a_tokenizer_may_consist_of_other_files(tmp_path, files):
    for file in files:
        with pytest.raises(ModelError, match="its tokenizer is missing"):
            find_tokenizer(CheckpointFolder(tmp_path))
        (tmp_path / file).write_text("{}")
    assert [path.name for path in find_tokenizer(CheckpointFolder(tmp_path))] == files
