"""Models in local folders and in the hub's cache, and the messages if a model is unavailable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.checkpoints import SAMPLE

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RESOLVE = """
import sys
from ingest.embedding.checkpoint import resolve
from ingest.core.errors import ModelError
try:
    resolve(*sys.argv[1:])
except ModelError as error:
    print(error)
"""


@pytest.fixture
def model(tiny_clip, tmp_path) -> Path:
    return shutil.copytree(tiny_clip, tmp_path / "model")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def asked(*arguments: str, home: Path, **environment: str) -> tuple[str, str, float]:
    """Resolve in a process that can reach only a closed port; return its output, its errors and its time."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(home), "no_proxy": "127.0.0.1"}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, *arguments],
        env={**inherited, **nowhere, **environment}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout, done.stderr, time.monotonic() - started


def cached(home: Path, name: str, folder: Path) -> None:
    """Lay a checkpoint out as huggingface_hub's cache does."""
    repository = home / "hub" / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)


def test_a_folder_is_identified_by_its_content(model):
    checkpoint = resolve(str(model))
    assert checkpoint.location == str(model)
    assert checkpoint.revision is None
    assert checkpoint.space.model == "model"
    assert checkpoint.space.revision.startswith("sha256:")
    assert checkpoint.space.dim == 16


def test_a_folder_that_was_moved_is_the_same_space(model, tmp_path):
    before = resolve(str(model)).space
    moved = model.rename(tmp_path / "elsewhere")
    assert resolve(str(moved)).space.fingerprint == before.fingerprint
    assert resolve(str(moved)).space.model == "elsewhere"


def test_other_weights_or_preprocessing_are_another_space(model):
    fingerprints = [resolve(str(model)).space.fingerprint]
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    fingerprints.append(resolve(str(model)).space.fingerprint)
    for change in ({"image_mean": [0, 0, 0]}, {"image_std": [1, 1, 1]}, {"resample": 2}, {"size": 33}):
        edit(model / "preprocessor_config.json", **change)
        fingerprints.append(resolve(str(model)).space.fingerprint)
    assert len(set(fingerprints)) == len(fingerprints)


def test_files_that_do_not_affect_vectors_do_not_matter(model):
    before = resolve(str(model)).space.fingerprint
    (model / "README.md").write_text("a card")
    edit(model / "preprocessor_config.json", processor_class="CLIPProcessor")
    assert resolve(str(model)).space.fingerprint == before


def test_a_folder_saved_as_transformers_5_does_is_read(model):
    before = resolve(str(model)).space.fingerprint
    steps = json.loads((model / "preprocessor_config.json").read_text(encoding="utf-8"))
    (model / "preprocessor_config.json").unlink()
    (model / "processor_config.json").write_text(json.dumps({"image_processor": steps}))
    assert resolve(str(model)).space.fingerprint == before


def test_a_tilde_is_the_users_home(model, monkeypatch):
    monkeypatch.setenv("HOME", str(model.parent))
    assert resolve("~/model").space == resolve(str(model)).space


def test_a_siglip_without_a_configured_dim_has_siglips_default(model):
    """As google/siglip-base-patch16-224's: {"vision_config": {"model_type": "siglip_vision_model"}}."""
    towers = {"vision_config": {"model_type": "siglip_vision_model"}, "text_config": {}}
    (model / "config.json").write_text(json.dumps({"model_type": "siglip", **towers}))
    edit(model / "preprocessor_config.json", size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224})
    assert resolve(str(model)).space.dim == 768


def test_a_clip_without_a_configured_dim_has_clips_default(model):
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    del config["projection_dim"]
    config["vision_config"]["projection_dim"] = 99
    (model / "config.json").write_text(json.dumps(config))
    assert resolve(str(model)).space.dim == 512, "as transformers' CLIPConfig has it, and not the vision tower's width"


@pytest.mark.parametrize(
    ("side", "changes"),
    [
        (64, {"size": {"shortest_edge": 64}, "crop_size": 64}),
        (224, {"size": {"shortest_edge": 224}, "crop_size": 224}),
    ],
)
def test_preprocessing_of_another_size_than_the_models_is_refused(model, side, changes):
    edit(model / "preprocessor_config.json", **changes)
    with pytest.raises(ModelError, match=rf"makes images of {side} × {side} pixels and its model takes 32 × 32"):
        resolve(str(model))


def test_a_model_without_a_configured_size_has_transformers_default(model):
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    del config["vision_config"]["image_size"]
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="its model takes 224 × 224"):
        resolve(str(model))


def test_a_siglip_takes_images_with_the_same_number_of_patches(tiny_siglip, tmp_path):
    """As google/siglip-so400m-patch14-384: 27 patches of 14 pixels, and some pixels left over."""
    folder = shutil.copytree(tiny_siglip, tmp_path / "model")
    edit(folder / "preprocessor_config.json", size={"height": 35, "width": 35})
    assert resolve(str(folder)).preprocessing.height == 35
    edit(folder / "preprocessor_config.json", size={"height": 40, "width": 40})
    with pytest.raises(ModelError, match="makes images of 40 × 40 pixels and its model takes 32 × 32"):
        resolve(str(folder))


@pytest.mark.parametrize("processor", ["Siglip2ImageProcessor", "SiglipImageProcessor", None])
def test_a_siglip_2_for_images_of_any_size_is_refused_by_name(model, processor):
    edit(model / "config.json", model_type="siglip2")
    edit(model / "preprocessor_config.json", image_processor_type=processor)
    with pytest.raises(ModelError, match="is a SigLIP 2 NaFlex, which takes images of any size; choose a SigLIP 2 of"):
        resolve(str(model))


def test_a_processor_file_without_image_settings_is_not_taken_for_clips(model):
    """As transformers 4 wrote it: {"processor_class": "CLIPProcessor"}."""
    (model / "preprocessor_config.json").unlink()
    (model / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    with pytest.raises(ModelError, match="has no preprocessor_config"):
        resolve(str(model))


def test_a_file_in_place_of_a_folder_is_refused_as_one(model):
    with pytest.raises(ModelError, match="is a file; --model takes a hub id or a folder"):
        resolve(str(model / "model.safetensors"))


def test_fingerprints_do_not_change():
    """The committed model's: if it changed, every collection would be embedded again."""
    assert resolve(str(SAMPLE)).space.fingerprint == "45451731f54cca1e"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "its config.json cannot be read"),
        (lambda folder: (folder / "config.json").write_bytes(b'{"\xff": 1}'), "its config.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "not a JSON object"),
        (lambda folder: (folder / "config.json").write_text("{}"), "not a model of images and texts"),
        (lambda folder: (folder / "config.json").write_text('{"vision_config": null}'), "not a model of images"),
        (lambda folder: edit(folder / "config.json", projection_dim="wide"), "not a model of images"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), "has no preprocessor_config.json"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("{]"), "cannot be read"),
        (lambda folder: edit(folder / "preprocessor_config.json", do_resize=False), "leaves out resizing"),
    ],
)
def test_a_folder_that_is_not_a_checkpoint_is_one_line(model, damage, words):
    damage(model)
    with pytest.raises(ModelError) as caught:
        resolve(str(model))
    message = str(caught.value)
    assert message.startswith(f"{model}: ")
    assert words in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["./none", "/none/at/all", "~/none-here", "a/b/c", "a\\b", "~nobody-of-that-name/model", "x" * 5000]
)
def test_a_path_that_is_not_a_folder_is_refused_as_none(name):
    with pytest.raises(ModelError, match="no such folder") as caught:
        resolve(name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["two words", "-x", "a..b", "ü/model", "x" * 200])
def test_a_name_that_cannot_be_a_hub_id_is_refused(name):
    with pytest.raises(ModelError, match="neither a folder nor a hub id") as caught:
        resolve(name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("revision", [[], ["main"], [COMMIT], ["v1"]])
def test_a_hub_that_cannot_be_reached_is_reported_soon_and_with_fixes(tmp_path, revision):
    said, errors, seconds = asked("some/model", *revision, home=tmp_path)
    assert said == (
        "some/model: the hub cannot be reached and the model is not in the local cache; connect once, or set HF_HOME "
        "to a cache that has it, or pass --model FOLDER with a downloaded checkpoint, or try the sample: "
        "--model data/models/sample-clip\n"
    )
    assert errors == ""
    assert seconds < 15


def test_offline_mode_does_not_ask_the_hub(tmp_path):
    said, errors, _ = asked("some/model", home=tmp_path, HF_HUB_OFFLINE="1")
    assert "the hub cannot be reached and the model is not in the local cache" in said
    assert errors == ""


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_cached_model_is_found_and_loaded_without_a_network(hub, tmp_path, tiny_clip, revision, capfd):
    cached(tmp_path, "some/model", tiny_clip)
    hub.stop()
    checkpoint = resolve("some/model", revision)
    assert (checkpoint.space.model, checkpoint.space.revision, checkpoint.revision) == ("some/model", COMMIT, COMMIT)
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    assert ClipEncoder(checkpoint, "cpu", "float32", 1).images(pixels).shape == (1, 16)
    assert capfd.readouterr().err == ""
