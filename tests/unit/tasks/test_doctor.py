"""`ingest doctor` reports what is wrong with a model before a run does."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from support.open_clip_checkpoints import FAMILIES, write_open_clip

from ingest.core.settings import Settings
from ingest.tasks import doctor

if TYPE_CHECKING:
    from pathlib import Path

    from support.hub_server import Hub


def of_model(model: str | Path) -> doctor.Finding:
    """Return the finding about the model."""
    settings = Settings(model=str(model), uri="none.db")
    return next(finding for finding in doctor.findings(settings) if finding.name == "model")


@pytest.fixture
def model(tiny_clip, tmp_path) -> Path:
    return shutil.copytree(tiny_clip, tmp_path / "model")


def test_a_complete_model_is_well(model):
    finding = of_model(model)
    assert (finding.exit_code, finding.way_out) == (0, "")
    assert finding.found.endswith(", 16 dimensions, CLIP")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_family_of_an_open_clip_checkpoint_is_named(tmp_path, family):
    finding = of_model(write_open_clip(tmp_path / "model", family))
    assert (finding.exit_code, finding.way_out) == (0, "")
    assert ", open_clip " in finding.found


def test_an_open_clip_checkpoint_that_cannot_be_loaded_is_named_with_what_to_do(tmp_path):
    folder = write_open_clip(tmp_path / "model")
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    config["model_cfg"]["vision_cfg"] = {"timm_model_name": "fastvit_mci1", "timm_pool": "avg", "timm_proj": None}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    finding = of_model(folder)
    assert finding.exit_code == 6
    assert "has timm's fastvit_mci1 with timm_pool avg and timm_proj None" not in finding.found
    assert "has timm's fastvit_mci1 as its image tower, which is not supported" in finding.found
    assert finding.way_out.startswith("choose an open_clip checkpoint of the ViT or SigLIP kind")


def test_open_clip_weights_on_the_hub_are_not_downloaded_but_reported_as_missing(hub: Hub, tmp_path):
    hub.repositories["acme/open-clip"] = write_open_clip(tmp_path / "model")
    hub.large.add("open_clip_model.safetensors")
    finding = of_model("hf-hub:acme/open-clip")
    assert finding.found.endswith("texts by CLIP's tokenizer; ingest run fetches its weights")
    assert "open_clip_model.safetensors" not in hub.fetched()


def lose_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def swap_the_tokenizer(folder: Path) -> None:
    from transformers import CLIPTokenizer

    lose_the_tokenizer(folder)
    CLIPTokenizer().save_pretrained(folder)


def cut_the_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1])


def lose_the_configuration(folder: Path) -> None:
    (folder / "config.json").rename(folder / "open_clip_config.json")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lose_the_tokenizer, "its tokenizer is missing"),
        (swap_the_tokenizer, "its tokenizer has 2 tokens"),
        (cut_the_weights, "is damaged"),
        (lose_the_configuration, "its open_clip_config.json has no model_cfg"),
    ],
)
def test_a_damaged_model_is_reported_with_a_fix(model, damage, words):
    damage(model)
    finding = of_model(model)
    assert finding.exit_code == 6
    assert words in finding.found
    assert finding.way_out


def test_the_weights_of_a_model_on_the_hub_are_not_downloaded_but_reported_as_missing(hub: Hub, model, offline):
    hub.repositories["acme/tiny-clip"] = model
    finding = of_model("acme/tiny-clip")
    assert finding.exit_code == 0
    assert finding.found.endswith(", 16 dimensions, CLIP; ingest run fetches its weights")
    assert "model.safetensors" not in hub.fetched()

    offline()
    finding = of_model("acme/tiny-clip")
    assert finding.exit_code == 6
    assert "its model.safetensors is not in the local cache" in finding.found
