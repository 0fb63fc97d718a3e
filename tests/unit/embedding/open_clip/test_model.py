"""Vectors, tokens and every layer compared with what open_clip itself computed; weights that are not the config's."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.late import torch
from support.open_clip_checkpoints import FAMILIES, write_open_clip
from support.open_clip_oracle import TEXTS, images, rows_after

from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.encoder import normalize
from ingest.embedding.towers import open_towers

if TYPE_CHECKING:
    from collections.abc import Callable

OUTPUTS = np.load(Path(__file__).parents[3] / "support" / "open_clip_outputs.npz")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    return {family: write_open_clip(tmp_path_factory.mktemp("open_clip") / family, family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param


def loaded(folder: Path, dtype: str = "float32") -> ClipEncoder:
    return ClipEncoder(resolve(str(folder)), "cpu", dtype, 1)


def cosines(rows: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return (normalize(rows) * normalize(expected)).sum(axis=1)


def pixels(folder: Path) -> np.ndarray:
    steps = resolve(str(folder)).preprocessing
    return np.stack([steps(image) for image in images()])


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.99999), ("bfloat16", 0.998)])
def test_images_have_open_clips_vectors_whatever_their_size(folders, family, dtype, least):
    expected = OUTPUTS[f"{family}/images"]
    others = normalize(expected) @ normalize(expected).T
    assert np.triu(others, 1).min() < 0.99, "the images must differ for this to show anything"
    assert cosines(loaded(folders[family], dtype).images(pixels(folders[family])), expected).min() >= least


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.99999), ("bfloat16", 0.998)])
def test_texts_have_open_clips_vectors(folders, family, dtype, least):
    expected = OUTPUTS[f"{family}/texts"]
    assert cosines(loaded(folders[family], dtype).texts(TEXTS), expected).min() >= least


def test_texts_have_open_clips_tokens(folders, family):
    ours = open_towers(resolve(str(folders[family])), "float32").tokenizer()(TEXTS)["input_ids"].numpy()
    expected = OUTPUTS[f"{family}/tokens"]
    np.testing.assert_array_equal(ours, expected[:, : ours.shape[1]])
    assert not expected[:, ours.shape[1] :].any(), "what is left out is padding"


def blocks(tower: Callable[..., Any]) -> Any:
    """Return the blocks of a tower that a loader returned."""
    model = inspect.getclosurevars(tower).nonlocals["tower"]
    return next(part.layers for part in model.modules() if hasattr(part, "layers"))


def test_every_layer_is_open_clips(folders, family):
    checkpoint = resolve(str(folders[family]))
    towers = open_towers(checkpoint, "float32")
    tokens = towers.tokenizer()(TEXTS[:1])
    text, image = towers.texts("cpu"), towers.images("cpu")
    steps = checkpoint.preprocessing
    given = (steps(images()[0]) / np.float32(255) - np.array(steps.mean)) / np.array(steps.std)
    batch = torch.tensor(given, dtype=torch.float32).permute(2, 0, 1).unsqueeze(0)
    with torch.inference_mode():
        found = {
            "text": rows_after(blocks(text), lambda: text(**tokens)),
            "image": rows_after(blocks(image), lambda: image(batch)),
        }
    for kind, layers in found.items():
        expected = [OUTPUTS[name] for name in OUTPUTS.files if name.startswith(f"{family}/{kind}_layer")]
        assert len(layers) == len(expected) > 1
        for ours, theirs in zip(layers, expected, strict=True):
            np.testing.assert_allclose(ours, theirs[: len(ours)], atol=1e-3)


def test_quick_gelu_is_computed_in_one_pass_here_too(folders):
    towers = open_towers(resolve(str(folders["vit-quickgelu"])), "float32")
    assert {type(block.mlp.activation_fn).__name__ for block in blocks(towers.images("cpu"))} == {"SiLU"}
