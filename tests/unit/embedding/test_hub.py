"""Models of the hub on fresh machines, with incomplete caches and without a network."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.checkpoints import write_clip
from support.hub_server import COMMIT

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder

if TYPE_CHECKING:
    from support.hub_server import Hub

NAME = "acme/tiny-clip"
SMALL = {"config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"}
TEXTS = ["red cup", "blue lamp"]


@pytest.fixture
def published(hub: Hub, tiny_clip: Path, tmp_path: Path) -> Path:
    """Publish the tiny CLIP and return its folder on the hub."""
    hub.repositories[NAME] = shutil.copytree(tiny_clip, tmp_path / "published")
    return hub.repositories[NAME]


def loaded(name: str, revision: str | None = None) -> ClipEncoder:
    return ClipEncoder(resolve(name, revision), "cpu", "float32", 1)


def cached(file: str, commit: str = COMMIT) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{NAME.replace('/', '--')}", "snapshots", commit, file)


def refused(name: str, revision: str | None = None) -> str:
    """Return the error line of a search by text."""
    with pytest.raises(ModelError) as caught:
        loaded(name, revision).texts(TEXTS)
    message = str(caught.value)
    assert caught.value.exit_code == 6
    assert message.startswith(f"{name}: ")
    assert len(message.splitlines()) == 1
    return message


def test_on_a_fresh_machine_everything_a_search_needs_is_fetched_once(hub, published):
    checkpoint = resolve(NAME)
    assert set(hub.fetched()) == SMALL, "a run with nothing to embed needs no weights"
    assert (checkpoint.space.model, checkpoint.space.revision, checkpoint.revision) == (NAME, COMMIT, COMMIT)

    np.testing.assert_array_equal(loaded(NAME).texts(TEXTS), loaded(str(published)).texts(TEXTS))
    pixels = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(loaded(NAME).images(pixels), loaded(str(published)).images(pixels))
    assert hub.fetched() == ["model.safetensors"]


def test_a_complete_cache_needs_no_network(hub, published, offline):
    expected = loaded(NAME).texts(TEXTS)
    offline()
    hub.stop()
    np.testing.assert_array_equal(loaded(NAME).texts(TEXTS), expected)


@pytest.mark.parametrize("file", [*sorted(SMALL), "model.safetensors"])
def test_files_missing_from_the_cache_are_fetched(hub, published, file):
    expected = loaded(NAME).texts(TEXTS)
    hub.fetched()
    cached(file).unlink()
    np.testing.assert_array_equal(loaded(NAME).texts(TEXTS), expected)
    assert cached(file).is_file()


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("config.json", "the model is not in the local cache"),
        ("preprocessor_config.json", "its preprocessor_config.json is not in the local cache"),
        ("tokenizer.json", "is not in the local cache"),
        ("model.safetensors", "its model.safetensors is not in the local cache"),
    ],
)
def test_without_a_network_files_missing_from_the_cache_are_named(hub, published, offline, file, words):
    loaded(NAME).texts(TEXTS)
    cached(file).unlink()
    offline()
    message = refused(NAME)
    assert f"{NAME}: the hub cannot be reached and " in message
    assert words in message


def test_a_cache_without_notes_of_missing_files_is_complete_too(hub, published, offline):
    """As another program fills it, or as it is copied to a machine without a network."""
    expected = loaded(NAME).texts(TEXTS)
    shutil.rmtree(cached("").parents[1] / ".no_exist", ignore_errors=True)
    offline()
    np.testing.assert_array_equal(loaded(NAME).texts(TEXTS), expected)


@pytest.mark.parametrize("weights", ["sharded", "pytorch_model.bin"])
def test_weights_in_shards_or_of_the_old_format_are_fetched_completely(hub, published, offline, weights):
    import torch
    from safetensors.torch import load_file
    from transformers import CLIPModel

    model, tensors = CLIPModel.from_pretrained(published), load_file(published / "model.safetensors")
    (published / "model.safetensors").unlink()
    if weights == "sharded":
        model.save_pretrained(published, max_shard_size="40KB")
        assert len(list(published.glob("model-*.safetensors"))) > 2
    else:
        torch.save(tensors, published / "pytorch_model.bin")
    expected = loaded(str(published)).texts(TEXTS)
    np.testing.assert_array_equal(loaded(NAME).texts(TEXTS), expected)

    last = max(path.name for path in published.iterdir() if path.suffix in {".bin", ".safetensors"})
    cached(last).unlink()
    np.testing.assert_array_equal(loaded(NAME).texts(TEXTS), expected)
    cached(last).unlink()
    offline()
    assert last in refused(NAME)


def test_a_revision_is_fetched_with_its_own_tokenizer(hub, published, tmp_path):
    loaded(NAME).texts(TEXTS)
    other = write_clip(tmp_path / "other", seed=1)
    hub.repositories[NAME], hub.revisions["v1"] = other, "c" * 40
    hub.revisions["c" * 40] = "c" * 40
    hub.fetched()

    encoder = loaded(NAME, "v1")

    assert encoder.space.revision == "c" * 40
    np.testing.assert_array_equal(encoder.texts(TEXTS), loaded(str(other)).texts(TEXTS))
    assert hub.fetched() == ["model.safetensors"], "files of the same content are known"
    assert {file for file in SMALL if cached(file, "c" * 40).is_file()} == SMALL
    assert resolve(NAME).revision == COMMIT, "what is cached stays what is meant without a revision"


def test_a_revision_missing_from_the_hub_is_one_line(hub, published):
    assert "no revision 'v2' on the hub; see --model-revision" in refused(NAME, "v2")


def test_a_name_missing_from_the_hub_is_one_line(hub):
    assert "not on the hub, or private" in refused("acme/nothing")


def test_a_repository_without_a_tokenizer_is_refused(hub, published):
    (published / "tokenizer.json").unlink()
    assert "its tokenizer is missing" in refused(NAME)


def test_a_processor_saved_in_one_file_is_found_on_the_hub_too(hub, published):
    before = resolve(NAME).space.preprocessing
    steps = json.loads((published / "preprocessor_config.json").read_text(encoding="utf-8"))
    (published / "preprocessor_config.json").unlink()
    (published / "processor_config.json").write_text(json.dumps({"image_processor": steps}), encoding="utf-8")
    shutil.rmtree(cached("").parents[1])
    assert resolve(NAME).space.preprocessing == before


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("adapter_config.json", "is a LoRA adapter"),
        ("modules.json", "is a sentence-transformers model"),
        ("open_clip_config.json", "its open_clip_config.json has no model_cfg"),
    ],
)
def test_a_repository_of_another_kind_is_named(hub, tmp_path, file, words):
    hub.repositories[NAME] = tmp_path / "other"
    hub.repositories[NAME].mkdir()
    (hub.repositories[NAME] / file).write_text("{}")
    assert words in refused(NAME)


def test_a_repository_with_weights_for_open_clip_only_is_read_as_open_clips(hub, published):
    (published / "model.safetensors").rename(published / "open_clip_model.safetensors")
    (published / "open_clip_config.json").write_text("{}")
    assert "its open_clip_config.json has no model_cfg" in refused(NAME)
    assert "open_clip_model.safetensors" not in hub.fetched(), "it is large"


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_damaged_cache_is_fixed_by_what_the_message_says(hub, published, file):
    loaded(NAME).texts(TEXTS)
    cached(file).resolve().write_bytes(b"{")
    folder = re.search(r"; delete (\S+) and run again", refused(NAME))
    assert folder is not None
    shutil.rmtree(folder[1])
    assert loaded(NAME).texts(TEXTS).shape == (2, 16)
