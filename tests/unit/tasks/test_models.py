"""`ingest models`: what is recommended can be loaded, and what is in the cache is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.checkpoints import write_clip
from support.open_clip_checkpoints import write_open_clip

from ingest.cli.main import main
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.recommended_models import MEASURES, RECOMMENDED, SPEED
from ingest.tasks.models import models

if TYPE_CHECKING:
    from support.hub_server import Hub


@pytest.fixture
def cache(hub: Hub, tmp_path: Path) -> Path:
    """Fill a cache with a CLIP, an open_clip checkpoint without its weights, one that is not supported, and a BERT."""
    from huggingface_hub import constants, hf_hub_download

    hub.repositories = {
        "acme/a-clip": write_clip(tmp_path / "clip"),
        "acme/b-open-clip": write_open_clip(tmp_path / "open-clip"),
        "acme/c-resnet": write_open_clip(tmp_path / "resnet"),
        "acme/d-bert": tmp_path / "bert",
    }
    hub.large.add("open_clip_model.safetensors")
    config = tmp_path / "resnet" / "open_clip_config.json"
    table = json.loads(config.read_text(encoding="utf-8"))
    table["model_cfg"]["vision_cfg"]["layers"] = [3, 4, 6, 3]
    config.write_text(json.dumps(table), encoding="utf-8")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    ClipEncoder(resolve("acme/a-clip"), "cpu", "float32", 1).texts(["red cup"])
    ClipEncoder(resolve("acme/a-clip"), "cpu", "float32", 1).size()
    resolve("acme/b-open-clip")
    hf_hub_download("acme/c-resnet", "open_clip_config.json")
    hf_hub_download("acme/d-bert", "config.json")
    return Path(constants.HF_HUB_CACHE)


def test_models_of_images_and_texts_in_the_cache_are_named(cache, hub):
    hub.stop()
    found = [(model.name, model.family, model.dim, model.problem) for model in models().cached]
    assert found == [
        ("acme/a-clip", "CLIP", 16, ""),
        ("acme/b-open-clip", "open_clip ViT, texts by CLIP's tokenizer", 24, "its weights are not in the cache"),
        ("acme/c-resnet", "cannot be loaded", 0, found[2][3]),
    ]
    assert found[2][3].startswith("has a ResNet as its image tower")
    assert models().cached[0].bytes > 100_000


def test_without_a_cache_there_are_recommendations_only(hub, tmp_path):
    assert models().cached == ()


def test_the_table_has_a_line_for_each_and_fits_a_terminal(cache, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["models"])
    out = capsys.readouterr().out
    for model in RECOMMENDED:
        assert f" {model.name} " in out
    lines = [line for line in out.splitlines() if "https://" not in line and "has a ResNet" not in line]
    assert max(map(len, lines)) <= 80
    assert "acme/a-clip: CLIP, dim 16, 0.00 GB" in out


def test_json_has_all_of_it(cache, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["models", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [model["name"] for model in found["recommended"]] == [model.name for model in RECOMMENDED]
    assert [model["name"] for model in found["cached"]] == ["acme/a-clip", "acme/b-open-clip", "acme/c-resnet"]


@pytest.mark.parametrize("model", RECOMMENDED, ids=lambda model: model.name)
def test_a_recommendation_names_its_source_and_a_shape_that_was_measured(model):
    assert (model.quality is None) == (not model.source)
    assert not model.source or model.source in MEASURES
    assert SPEED[model.shape] > 0
