"""Chinese-CLIP, AltCLIP and MetaCLIP 2: vectors compared with transformers' own, on tiny checkpoints."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from support.checkpoints import SAMPLE, SIDE
from support.late import torch, transformers
from support.open_clip_checkpoints import write_sentencepiece

from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.encoder import normalize

if TYPE_CHECKING:
    from pathlib import Path

DIM = 16
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {**TOWER, "image_size": SIDE, "patch_size": 8, "projection_dim": DIM}
TEXTS = ["red cup", "Red CUP", "红 杯", "一只红色的杯子", "κούπα", "été rouge", "a", "red cup " * 100]


def write_wordpiece(folder: Path) -> int:
    """Write BERT's tokenizer, which splits Chinese into characters, and return its number of tokens."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"红色的杯子一只", *"abcdefghijklmnopqrstuvwxyz"]
    words += ["red", "cup", "rouge", "blue", "lamp", "##s", "##p", "et", "mug", "chair"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}), encoding="utf-8")
    return len(words)


def write_chinese_clip(folder: Path) -> None:
    text = {**TOWER, "vocab_size": write_wordpiece(folder), "max_position_embeddings": 40, "pad_token_id": 0}
    config = transformers.ChineseCLIPConfig(text_config=text, vision_config=VISION, projection_dim=DIM)
    save(transformers.ChineseCLIPModel(config), folder, "ChineseCLIPFeatureExtractor")


def write_altclip(folder: Path) -> None:
    write_sentencepiece(folder)
    text = {**TOWER, "vocab_size": 318, "max_position_embeddings": 40, "pad_token_id": 1, "project_dim": DIM,
            "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip
    config = transformers.AltCLIPConfig(text_config=text, vision_config=VISION, projection_dim=DIM)
    save(transformers.AltCLIPModel(config), folder, "CLIPImageProcessor")


def write_metaclip_2(folder: Path) -> None:
    write_sentencepiece(folder)
    text = {**TOWER, "vocab_size": 318, "max_position_embeddings": 40, "eos_token_id": 2, "bos_token_id": 0,
            "pad_token_id": 1, "projection_dim": DIM}  # fmt: skip
    config = transformers.MetaClip2Config(text_config=text, vision_config=VISION, projection_dim=DIM)
    save(transformers.MetaClip2Model(config), folder, "CLIPImageProcessor")


def save(model: Any, folder: Path, processor: str) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1 and "norm" not in name:
                weights.normal_(0.0, 0.15)
    model.eval().save_pretrained(folder)
    steps = json.loads((SAMPLE / "preprocessor_config.json").read_text(encoding="utf-8"))
    steps.pop("image_processor_type", None)
    steps |= {"size": {"height": SIDE, "width": SIDE}, "do_center_crop": False, "feature_extractor_type": processor}
    if processor == "CLIPImageProcessor":
        steps |= {"size": {"shortest_edge": SIDE}, "crop_size": SIDE, "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(steps), encoding="utf-8")


@pytest.fixture(
    scope="module", params=[write_chinese_clip, write_altclip, write_metaclip_2], ids=["chinese", "alt", "metaclip 2"]
)
def folder(request, tmp_path_factory) -> Path:
    made: Path = tmp_path_factory.mktemp("model")
    request.param(made)
    return made


def theirs(folder: Path) -> Any:
    return transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


def longest(folder: Path) -> int:
    """Return how many tokens fit: XLM-R's positions begin after its padding token's number."""
    config = transformers.AutoConfig.from_pretrained(folder)
    return 38 if config.model_type == "altclip" else 40


def test_texts_have_transformers_vectors(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = theirs(folder)
    encoder = ClipEncoder(resolve(str(folder)), "cpu", "float32", 1)
    with torch.inference_mode():
        expected = np.concatenate(
            [
                model.get_text_features(
                    **tokenizer([text], return_tensors="pt", truncation=True, max_length=longest(folder))
                ).pooler_output.numpy()
                for text in TEXTS
            ]
        )
    together, alone = encoder.texts(TEXTS), np.concatenate([encoder.texts([text]) for text in TEXTS])
    assert np.triu(normalize(expected) @ normalize(expected).T, 1).min() < 0.99, "the texts must differ"
    for ours in (together, alone):
        assert (normalize(ours) * normalize(expected)).sum(axis=1).min() >= 0.9999


def test_images_have_transformers_vectors(folder):
    from ingest.embedding.preprocess import from_config

    pixels = np.random.RandomState(0).randint(0, 256, (60, 91, 3)).astype(np.uint8)
    config = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    kind = "ChineseCLIPImageProcessorPil" if "ChineseCLIPFeatureExtractor" in str(config) else "CLIPImageProcessorPil"
    given = getattr(transformers, kind)(**{key: value for key, value in config.items() if "type" not in key})
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # within transformers
    with torch.inference_mode():
        batch = given(Image.fromarray(pixels), return_tensors="pt")
        expected = theirs(folder).get_image_features(**batch).pooler_output.numpy()
    ours = ClipEncoder(resolve(str(folder)), "cpu", "float32", 1).images(
        from_config(config, "it")(Image.fromarray(pixels))[None]
    )
    assert (normalize(ours) * normalize(expected)).sum() >= 0.9999


def test_the_family_is_named(folder):
    assert resolve(str(folder)).family in {"Chinese-CLIP", "AltCLIP", "MetaCLIP 2"}
