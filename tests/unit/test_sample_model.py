"""The committed sample model: small, loadable without torchvision, and as good as its card says."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.late import Late, torch, transformers

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "data" / "models" / "sample-clip"
sys.path.insert(0, str(ROOT / "scripts"))

from sample_catalog.catalog import all_combinations  # noqa: E402
from sample_clip.captions import plain_query, write_caption  # noqa: E402
from sample_clip.pictures import (  # noqa: E402
    ATTRIBUTES,
    GALLERY_SEED,
    QUERY_SEED,
    evaluation_pictures,
    label,
    split_combinations,
)

evaluation = Late("sample_clip.evaluation")

SMALL = 64  # pixels: less than the images of the catalog have is enough here, and quicker to draw
HELD_OUT = split_combinations()[1][:60]
EVERY, FIRST = (1, 5) if os.environ.get("INGEST_SOAK") else (3, 2)
"""The gallery has one in so many of the other combinations; the right drawing must be among so many found first."""
GALLERY = [one for place, one in enumerate(all_combinations()) if place % EVERY == 0 or one in HELD_OUT]
PLACES = [GALLERY.index(one) for one in HELD_OUT]


@pytest.fixture(scope="module")
def embedder() -> Any:
    return evaluation.Embedder.load(MODEL)


@pytest.fixture(scope="module")
def gallery(embedder: Any) -> Any:
    return embedder.pictures(evaluation_pictures(GALLERY_SEED, GALLERY, size=SMALL, workers=1))


def test_at_most_twelve_megabytes() -> None:
    assert sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file()) <= 12_000_000


def test_the_card_states_good_figures() -> None:
    card = (MODEL / "README.md").read_text(encoding="utf-8")
    stated = re.findall(r"^\| (text|image) to image, recall at 5 \| ([\d.]+) \| ([\d.]+) \|$", card, re.MULTILINE)
    assert [side for side, _, _ in stated] == ["text", "image"]
    assert all(float(held_out) >= 0.9 for _, _, held_out in stated)


def test_held_out_combinations_were_never_captioned_whole_but_are_made_of_known_parts() -> None:
    seen, hidden = split_combinations()
    assert not set(seen) & set(hidden)
    assert len(hidden) == round(0.1 * len(all_combinations()))
    for axis in range(3):
        assert {combination[axis] for combination in hidden} <= {combination[axis] for combination in seen}


def test_a_model_that_tells_nothing_apart_finds_nothing() -> None:
    same = torch.ones(10, 4) / 2
    assert evaluation.ranks(same, same, list(range(10))).tolist() == [9] * 10
    assert evaluation.ranks(same * float("nan"), same, list(range(10))).tolist() == [9] * 10


def test_texts_find_drawings_never_trained_on(embedder, gallery) -> None:
    queries = embedder.texts([plain_query(*combination) for combination in HELD_OUT])
    assert float((evaluation.ranks(queries, gallery, PLACES) < FIRST).float().mean()) >= 0.85


def test_drawings_find_other_drawings_of_the_same(embedder, gallery) -> None:
    queries = embedder.pictures(evaluation_pictures(QUERY_SEED, HELD_OUT, size=SMALL, workers=1))
    assert float((evaluation.ranks(queries, gallery, PLACES) < FIRST).float().mean()) >= 0.85


def test_synonyms_and_capitals_mean_the_same(embedder) -> None:
    vectors = embedder.texts(["red striped mug", "Red Striped Mug", "a photo of a stripy red cup", "blue chair"])
    assert torch.allclose(vectors[0], vectors[1])
    assert float(vectors[0] @ vectors[2]) > 0.8 > float(vectors[0] @ vectors[3])


@pytest.mark.parametrize("size", [(640, 427), (33, 500), (64, 64), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_any_picture_gets_a_unit_vector(embedder, size, mode) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    vector = embedder.pictures([Image.fromarray(noise).convert(mode)])
    assert vector.shape == (1, 128)
    assert float(vector.norm()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("loader", ["AutoTokenizer", "CLIPTokenizer"])
def test_the_tokenizer_reads_and_writes(loader: str) -> None:
    tokenizer = getattr(transformers, loader).from_pretrained(MODEL)
    tokens = tokenizer("A Red STRIPED mug")["input_ids"]
    assert tokens == tokenizer("a red striped mug")["input_ids"]
    assert tokens[0] == tokenizer.bos_token_id
    assert tokens[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(tokens, skip_special_tokens=True) == "a red striped mug"
    assert tokenizer.decode(tokenizer("zürich 漢字 ☕")["input_ids"], skip_special_tokens=True) == "zürich 漢字 ☕"


def test_long_texts_are_cut_to_what_the_model_reads(embedder) -> None:
    assert embedder.texts(["red striped mug " * 100]).shape == (1, 128)


def test_the_processor_loads_without_torchvision() -> None:
    processor = transformers.AutoProcessor.from_pretrained(MODEL)
    ready = processor(text=["mug"], images=[Image.new("RGB", (90, 120))], return_tensors="pt")
    assert ready["pixel_values"].shape == (1, 3, 64, 64)


def test_captions_name_what_they_claim() -> None:
    rng = np.random.default_rng(2)
    labels = label(("mug", "red", "striped"), "ceramic")
    for caption in (write_caption(tuple(labels), rng) for _ in range(200)):
        assert caption.text == caption.text.lower()
        assert all(named in (-1, known) for named, known in zip(caption.named, labels, strict=True))
        assert ("red" in caption.text.split()) == (caption.named[1] == ATTRIBUTES[1].index("red"))
