"""Which checkpoints are open_clip's, and one embedding space for the same bytes, on the hub and in folders."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.checkpoints import write_clip
from support.hub_server import COMMIT
from support.open_clip_checkpoints import FAMILIES, SIDE, write_open_clip

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder

if TYPE_CHECKING:
    from support.hub_server import Hub

NAME = "acme/tiny-open-clip"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
SMALL = {CONFIG, "tokenizer.json", "tokenizer_config.json"}
TEXTS = ["red cup", "blue lamp"]
PIXELS = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def published(hub: Hub, tmp_path: Path) -> Path:
    hub.repositories[NAME] = write_open_clip(tmp_path / "published")
    return hub.repositories[NAME]


def loaded(name: str) -> ClipEncoder:
    return ClipEncoder(resolve(name), "cpu", "float32", 1)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def cached(file: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{NAME.replace('/', '--')}", "snapshots", COMMIT, file)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_fetched_once_and_needs_no_network_afterwards(hub, offline, tmp_path, family):
    folder = hub.repositories[NAME] = write_open_clip(tmp_path / "published", family)
    hub.large.add(WEIGHTS)
    checkpoint = resolve(f"hf-hub:{NAME}")
    assert set(hub.fetched()) == SMALL, "a run with nothing to embed needs no weights"
    assert (checkpoint.location, checkpoint.revision, checkpoint.space.model) == (NAME, COMMIT, NAME)

    expected = loaded(str(folder))
    np.testing.assert_array_equal(loaded(NAME).texts(TEXTS), expected.texts(TEXTS))
    np.testing.assert_array_equal(loaded(NAME).images(PIXELS), expected.images(PIXELS))
    assert hub.fetched() == [WEIGHTS]

    offline()
    hub.stop()
    np.testing.assert_array_equal(loaded(NAME).texts(TEXTS), expected.texts(TEXTS))
    assert resolve(NAME).space == checkpoint.space


@pytest.mark.parametrize("large", [True, False])
def test_a_hub_id_and_a_folder_with_the_same_bytes_are_one_space(hub, published, large, tmp_path):
    if large:  # as the hub keeps weights: it says their SHA-256; of small files it does not
        hub.large.add(WEIGHTS)
    prefixed, folder = resolve(f"hf-hub:{NAME}").space, resolve(str(published)).space
    moved = resolve(str(shutil.copytree(published, tmp_path / "elsewhere"))).space
    assert (WEIGHTS in hub.fetched()) is not large
    assert resolve(NAME).space == prefixed
    assert {prefixed.fingerprint, moved.fingerprint} == {folder.fingerprint}
    assert prefixed.revision == folder.revision
    loaded(NAME).images(PIXELS)
    assert resolve(NAME).space == prefixed, "from the cache too"


def test_what_decides_a_vector_decides_the_space_and_nothing_else_does(published):
    space = resolve(str(published)).space
    fingerprints = {space.fingerprint}
    (published / "README.md").write_text("a card")
    edit(published / CONFIG, license="mit")
    (published / CONFIG).write_text(json.dumps(json.loads((published / CONFIG).read_text()), indent=7))
    (published / "open_clip_pytorch_model.bin").write_bytes(b"the other format, which is not loaded")
    assert resolve(str(published)).space.fingerprint in fingerprints

    config = json.loads((published / CONFIG).read_text(encoding="utf-8"))
    for part, change in (
        ("model_cfg", {"quick_gelu": True}),
        ("preprocess_cfg", {"resize_mode": "squash"}),
        ("preprocess_cfg", {"mean": [0, 0, 0]}),
        ("preprocess_cfg", {"interpolation": "bilinear"}),
    ):
        (published / CONFIG).write_text(json.dumps(config | {part: config[part] | change}), encoding="utf-8")
        fingerprints.add(resolve(str(published)).space.fingerprint)
    (published / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    weights = published / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    fingerprints.add(resolve(str(published)).space.fingerprint)
    assert len(fingerprints) == 6


def test_a_checkpoint_for_transformers_too_keeps_its_space(hub, offline, tmp_path):
    """As laion's on the hub: a collection built with one is not embedded again."""
    from huggingface_hub import hf_hub_download

    both = hub.repositories[NAME] = write_clip(tmp_path / "both")
    before, on_hub = resolve(str(both)), resolve(NAME)
    write_open_clip(tmp_path / "other")
    for file in (CONFIG, WEIGHTS):
        shutil.copy(tmp_path / "other" / file, both)
    edit(both / CONFIG)
    assert resolve(NAME) == on_hub
    shutil.rmtree(cached("").parents[1])
    assert resolve(NAME) == on_hub, "on a fresh machine too"
    shutil.rmtree(cached("").parents[1])
    hf_hub_download(NAME, WEIGHTS)
    assert resolve(NAME) == on_hub, "also if another program has fetched open_clip's files"
    offline()
    assert resolve(NAME) == on_hub
    after = resolve(str(both))
    assert (after.open_clip, after.family) == (None, "CLIP")
    assert before.open_clip is None


def test_a_folders_revision_covers_all_its_weights_as_before(tmp_path):
    """The fingerprint of a folder for transformers covers each file that looks like weights; it must not change."""
    both = write_clip(tmp_path / "both")
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        digest.update(hashlib.sha256((both / name).read_bytes()).digest())
    assert resolve(str(both)).space.revision == f"sha256:{digest.hexdigest()}"


@pytest.mark.parametrize("where", ["folder", "hub"])
def test_a_repository_that_brings_its_own_classes_is_loaded_without_them(hub, tmp_path, where):
    """As marqo's on the hub: config.json names code of the repository, around open_clip's model."""
    folder = hub.repositories[NAME] = write_open_clip(tmp_path / "model", "siglip")
    plain = resolve(str(folder)).space
    code = {"model_type": "siglip", "text_config": {}, "auto_map": {"AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(code))
    (folder / "evil.py").write_text("raise SystemExit('remote code ran')")
    (folder / "preprocessor_config.json").write_text("{}")
    shutil.copy(folder / WEIGHTS, folder / "model.safetensors")
    name = NAME if where == "hub" else str(folder)
    assert resolve(name).space.fingerprint == plain.fingerprint
    assert loaded(name).texts(TEXTS).shape == (2, 48)
    assert "evil.py" not in hub.fetched()


def test_a_cache_that_open_clip_filled_is_complete(hub, published, offline):
    """It fetches its own configuration and weights, and the tokenizer, and never asks for config.json."""
    expected = loaded(NAME).texts(TEXTS)
    shutil.rmtree(cached("").parents[1] / ".no_exist")
    offline()
    np.testing.assert_array_equal(loaded(NAME).texts(TEXTS), expected)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS, "tokenizer.json"])
def test_without_a_network_files_missing_from_the_cache_are_named(hub, published, offline, file):
    loaded(NAME).texts(TEXTS)
    cached(file).unlink()
    offline()
    with pytest.raises(ModelError, match=f"{NAME}: ") as caught:
        loaded(NAME).texts(TEXTS)
    assert "cannot be reached" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_checkpoint_without_weights_is_one_line(published):
    (published / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=f"has no {WEIGHTS} and no .*; copy the checkpoint again"):
        resolve(str(published))
    with pytest.raises(ModelError, match=f"{NAME}: has no {WEIGHTS} and no open_clip_pytorch_model.bin"):
        resolve(NAME)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model_cfg": 7}', '{"model_cfg": {}}', "\x00"])
def test_a_configuration_that_cannot_be_read_is_one_line(published, text):
    (published / CONFIG).write_text(text)
    with pytest.raises(ModelError, match=f"{published}: its open_clip_config.json ") as caught:
        resolve(str(published))
    assert len(str(caught.value).splitlines()) == 1
