"""Texts as open_clip cleans them, tokenizers from elsewhere, and those that are not the model's."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.open_clip_checkpoints import write_open_clip

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.open_clip.texts import clean

if TYPE_CHECKING:
    from pathlib import Path

    from support.hub_server import Hub

TEXTS = ["Red cup", "blue lamp"]
FILES = ("tokenizer.json", "tokenizer_config.json")


@pytest.mark.parametrize(
    ("how", "text", "cleaned"),
    [
        ("lower", "  A  Red\tCUP\n", "a red cup"),
        ("whitespace", "  A  Red\tCUP\n", "A Red CUP"),
        ("canonicalize", "A_Red-CUP, 3 pcs.!", "a redcup 3 pcs"),
        ("lower", "Tom &amp;amp; “Jerry’s”", 'tom & "jerry\'s"'),
        ("lower", "ｗｉｄｅ ﬁne", "wide fine"),
        ("lower", "sÃ³ cafÃ©", "só café"),
        ("whitespace", "红 杯 ÜBER", "红 杯 ÜBER"),
    ],
)
def test_texts_are_cleaned_as_open_clip_does(how, text, cleaned):
    assert clean(text, how) == cleaned


@settings(deadline=None, max_examples=100)
@given(text=st.text(max_size=60), how=st.sampled_from(["lower", "whitespace", "canonicalize"]))
def test_a_cleaned_text_has_single_spaces_and_stays_as_it_is(text, how):
    once = clean(text, how)
    assert once == " ".join(once.split())
    if how == "canonicalize":
        assert not set(once) & set("_!?.,")


@pytest.mark.parametrize("family", ["vit", "siglip", "siglip2", "worldwide"])
def test_any_text_has_a_vector(tmp_path, family):
    encoder = ClipEncoder(resolve(str(write_open_clip(tmp_path / "model", family))), "cpu", "float32", 1)
    rows = encoder.texts(["", " ", "\x00", "<|endoftext|>", "</s>", "🫖" * 500, "red " * 500])
    assert np.isfinite(rows).all()


def test_a_text_that_spells_clips_end_does_not_end_there(tmp_path):
    encoder = loaded(str(write_open_clip(tmp_path / "model")))
    cut, whole, short = encoder.texts(["red <|endoftext|> cup", "red <|endoftext|> lamp", "red"])
    assert np.abs(cut - whole).max() > 0.01
    assert np.abs(cut - short).max() > 0.01


def without(folder: Path) -> Path:
    for file in FILES:
        (folder / file).unlink()
    return folder


def loaded(name: str) -> ClipEncoder:
    return ClipEncoder(resolve(name), "cpu", "float32", 1)


@pytest.mark.parametrize(
    ("family", "repository"), [("siglip", "acme/a-tokenizer"), ("vit", "openai/clip-vit-base-patch32")]
)
def test_a_checkpoint_without_a_tokenizer_has_the_one_that_its_config_names(hub, offline, tmp_path, family, repository):
    whole = write_open_clip(tmp_path / "whole", family)
    hub.repositories[repository] = tmp_path / "tokenizer"
    hub.repositories[repository].mkdir()
    for file in FILES:
        shutil.copy(whole / file, hub.repositories[repository])
    folder = without(shutil.copytree(whole, tmp_path / "model"))

    np.testing.assert_array_equal(loaded(str(folder)).texts(TEXTS), loaded(str(whole)).texts(TEXTS))
    assert resolve(str(folder)).space.fingerprint == resolve(str(whole)).space.fingerprint

    offline()
    assert loaded(str(folder)).texts(TEXTS).shape[0] == 2


def test_a_tokenizer_that_is_nowhere_is_named(hub: Hub, offline, tmp_path):
    folder = without(write_open_clip(tmp_path / "model", "siglip"))
    offline()
    with pytest.raises(ModelError) as caught:
        resolve(str(folder))
    message = str(caught.value)
    assert message.startswith(f"{folder}: its tokenizer is missing")
    assert "or fetch it from acme/a-tokenizer (" in message
    assert len(message.splitlines()) == 1


def test_clips_vocabulary_and_merges_are_enough(tmp_path):
    whole = write_open_clip(tmp_path / "whole", "vit")
    folder = shutil.copytree(whole, tmp_path / "model")
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")
    np.testing.assert_array_equal(loaded(str(folder)).texts(TEXTS), loaded(str(whole)).texts(TEXTS))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "its tokenizer cannot be loaded"),
        (lambda folder: (folder / "tokenizer_config.json").write_text("{}"), "its tokenizer_config.json names no pad"),
        (lambda folder: write_open_clip(folder, "vit") and None, "its tokenizer has 954 tokens and its model's"),
    ],
    ids=["damaged", "no padding", "another model's"],
)
def test_a_tokenizer_that_is_not_the_models_is_refused(tmp_path, damage, words):
    folder = write_open_clip(tmp_path / "model", "siglip")
    names = ("open_clip_config.json", "open_clip_model.safetensors")
    before = [(folder / name).read_bytes() for name in names]
    damage(folder)
    for name, content in zip(names, before, strict=True):
        (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        loaded(str(folder)).texts(TEXTS)
    assert len(str(caught.value).splitlines()) == 1
