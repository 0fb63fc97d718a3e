"""Tokenizers that are not the model's are refused, and SigLIP 2's texts are tokenized as its authors do it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.checkpoints import SAMPLE, write_clip, write_siglip2

from ingest.core.errors import ModelError
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.towers import Towers

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.embedding.tokenizer import Tokenizer


def tokenizer(folder: Path) -> Tokenizer:
    return Towers(resolve(str(folder)), "float32").tokenizer()


def edit(path: Path, *keys: str, **changes: object) -> None:
    """Change values of a JSON object, or of the object inside it at these keys."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    table = whole
    for key in keys:
        table = table[key]
    table.update(changes)
    path.write_text(json.dumps(whole), encoding="utf-8")


@pytest.fixture
def model(tiny_clip, tmp_path) -> Path:
    return shutil.copytree(tiny_clip, tmp_path / "model")


def empty(folder: Path) -> None:
    """Leave the tokenizer of two tokens that transformers makes of a folder without tokenizer.json."""
    from transformers import CLIPTokenizer

    (folder / "tokenizer.json").unlink()
    CLIPTokenizer().save_pretrained(folder)


def merge_nothing(folder: Path) -> None:
    """Make every word the unknown one."""
    whole = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = {token: number for token, number in whole["model"]["vocab"].items() if number > 600}
    vocabulary |= {f"zz{number}</w>": number for number in range(601)}
    unknown = next(token for token, number in vocabulary.items() if number == 953)
    whole["model"] |= {"vocab": vocabulary, "merges": [], "unk_token": unknown, "fuse_unk": True}
    (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (empty, "has 2 tokens and its model's vocabulary 954"),
        (merge_nothing, "gives the same tokens for different words"),
        (lambda folder: edit(folder / "config.json", "text_config", vocab_size=900), "has 954 tokens and its model's"),
        (lambda folder: edit(folder / "config.json", "text_config", vocab_size=1100), "has 954 tokens and its model's"),
        (
            lambda folder: edit(folder / "config.json", "text_config", eos_token_id=17),
            "does not end texts as its config",
        ),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot be loaded"),
    ],
    ids=["two tokens", "one for all", "too many", "too few", "another end", "damaged"],
)
def test_a_tokenizer_that_is_not_the_models_is_refused(model, damage, words):
    damage(model)
    with pytest.raises(ModelError) as caught:
        tokenizer(model)
    message = str(caught.value)
    assert message.startswith(f"{model}: its tokenizer {words}")
    assert "; copy" in message
    assert len(message.splitlines()) == 1


def test_a_run_does_not_embed_with_a_model_that_cannot_be_searched_by_text(model):
    empty(model)
    with pytest.raises(ModelError, match="its tokenizer has 2 tokens"):
        ClipEncoder(resolve(str(model)), "cpu", "float32", 4).size()


def test_a_clip_with_the_old_end_token_is_loaded(model):
    """As in openai/clip-vit-base-patch32's config.json: the end of a text is its highest token."""
    edit(model / "config.json", "text_config", eos_token_id=2)
    assert set(tokenizer(model)(["red mug"])) == {"input_ids", "attention_mask"}


def test_a_rounded_up_vocabulary_is_loaded(tmp_path):
    folder = write_clip(tmp_path / "model", spare_tokens=6)
    rows = ClipEncoder(resolve(str(folder)), "cpu", "float32", 1).texts(["red mug", "blue lamp"])
    assert np.abs(rows[0] - rows[1]).max() > 0.01


def test_the_sample_models_tokenizer_is_accepted():
    assert tokenizer(SAMPLE)(["red striped mug"])["input_ids"].shape[0] == 1


@pytest.mark.parametrize(
    "kind", ["GemmaTokenizer", "GemmaTokenizerFast", "PreTrainedTokenizerFast", "Siglip2Tokenizer"]
)
def test_siglip_2_reads_lower_case_whichever_tokenizer_the_folder_names(tmp_path, kind):
    folder = write_siglip2(tmp_path / "model", kind)
    rows = ClipEncoder(resolve(str(folder)), "cpu", "float32", 1).texts(["red cup", "Red Cup", "RED CUP", "cup red"])
    np.testing.assert_array_equal(rows[1:3], rows[[0, 0]])
    assert np.abs(rows[3] - rows[0]).max() > 0.01


def test_siglip_2s_tokens_have_no_beginning_one_end_padding_and_no_mask(tmp_path):
    tokens = tokenizer(write_siglip2(tmp_path / "model"))(["Red cup", "Été", "red " * 100])
    assert set(tokens) == {"input_ids"}
    assert tokens["input_ids"].tolist() == [[4, 5, 1, 0, 0, 0, 0, 0], [10, 1, 0, 0, 0, 0, 0, 0], [4] * 7 + [1]]


@pytest.fixture(scope="module")
def gemma(tmp_path_factory) -> Path:
    """Return a SigLIP 2 with a small tokenizer of Gemma's kind."""
    from transformers import GemmaTokenizer

    folder = write_siglip2(tmp_path_factory.mktemp("gemma") / "model")
    vocabulary, merges = _gemma()
    GemmaTokenizer(vocab=vocabulary, merges=merges).save_pretrained(folder)
    edit(folder / "config.json", "text_config", vocab_size=len(vocabulary), max_position_embeddings=24)
    return folder


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("aAbBéÉİßẞΣσς 漢\t"), max_size=40))
def test_any_text_has_the_tokens_of_transformers_siglip_2_tokenizer(gemma, text):
    from transformers import Siglip2Tokenizer

    vocabulary, merges = _gemma()
    theirs = Siglip2Tokenizer(vocab=vocabulary, merges=merges)(text, add_special_tokens=False)["input_ids"]
    expected = [*theirs[:23], 1]
    assert tokenizer(gemma)([text])["input_ids"].tolist() == [expected + [0] * (24 - len(expected))]


def _gemma() -> tuple[dict[str, int], list[tuple[str, str]]]:
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces = [*special, "▁", *"aAbBéÉßσς", "ab", "ba", "▁a", "▁ab"]
    merges = [("a", "b"), ("b", "a"), ("▁", "a"), ("▁", "ab")]
    return {piece: number for number, piece in enumerate(pieces)}, merges


def test_siglip_1_reads_texts_as_its_own_tokenizer_gives_them(tmp_path, tiny_siglip):
    """Its vocabulary ends texts with </s>; its own files say what its tokenizer does with case."""
    folder = write_siglip2(tmp_path / "model", "PreTrainedTokenizerFast")
    path = folder / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("<eos>", "</s>"), encoding="utf-8")
    edit(folder / "tokenizer_config.json", eos_token="</s>")
    tokens = tokenizer(folder)(["red cup", "Red Cup"])["input_ids"]
    assert tokens[0].tolist() != tokens[1].tolist()
