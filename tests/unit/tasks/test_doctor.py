"""`ingest doctor` reports what is wrong with a model before a run does."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

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
    assert finding.found.endswith(", 16 dimensions")


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
        (lose_the_configuration, "is an open_clip checkpoint"),
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
    assert finding.found.endswith(", 16 dimensions; ingest run fetches its weights")
    assert "model.safetensors" not in hub.fetched()

    offline()
    finding = of_model("acme/tiny-clip")
    assert finding.exit_code == 6
    assert "its model.safetensors is not in the local cache" in finding.found
