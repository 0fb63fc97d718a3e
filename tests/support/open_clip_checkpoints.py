"""Small open_clip checkpoints of random weights, as open_clip saves them: made without open_clip, torch or timm.

The numbers come from NumPy's RandomState, whose stream never changes, so that what open_clip computed from them once
(`tests/support/open_clip_outputs.json`, recorded by `scripts/record_open_clip.py`) can be compared with anywhere.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "models" / "sample-clip"
SIDE = 32
WIDTH, LAYERS, DIM = 48, 2, 24
OPENAI = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
_VIT = {"image_size": SIDE, "layers": LAYERS, "width": WIDTH, "head_width": 16, "patch_size": 8}
_TEXT = {"context_length": 16, "width": 40, "heads": 4, "layers": LAYERS}
_SIGLIP_TEXT = {
    "context_length": 12, "width": WIDTH, "heads": 4, "layers": LAYERS, "no_causal_mask": True, "proj_bias": True,
    "pool_type": "last", "norm_kwargs": {"eps": 1e-6}, "hf_tokenizer_name": "acme/a-tokenizer",
    "tokenizer_kwargs": {"clean": "canonicalize"},
}  # fmt: skip
_SIGLIP = {"timm_model_pretrained": False, "timm_pool": "map", "timm_proj": "none", "image_size": SIDE}

WORDS = "red blue cup mug lamp chair a of the with été rouge tasse 红 杯 кружка κούπα".split()  # noqa: SIM905


def vit(**changes: Any) -> dict[str, Any]:
    """Return the configuration of OpenAI's kind, with CLIP's tokenizer."""
    model = {"embed_dim": DIM, "vision_cfg": _VIT, "text_cfg": {**_TEXT, "vocab_size": 954}, **changes}
    return {"model_cfg": model, "preprocess_cfg": {**OPENAI, "interpolation": "bicubic", "resize_mode": "shortest"}}


def siglip(name: str, vocabulary: int, **text: Any) -> dict[str, Any]:
    """Return the configuration of SigLIP's kind, its image tower by the name that timm has for it."""
    model = {
        "embed_dim": WIDTH, "init_logit_bias": -10, "custom_text": True,
        "vision_cfg": {"timm_model_name": name, **_SIGLIP},
        "text_cfg": {**_SIGLIP_TEXT, "vocab_size": vocabulary, **text},
    }  # fmt: skip
    return {"model_cfg": model, "preprocess_cfg": {**HALF, "interpolation": "bicubic", "resize_mode": "squash"}}


FAMILIES = {
    "vit": vit(),
    "vit-quickgelu": vit(quick_gelu=True),
    "siglip": siglip("vit_base_patch16_siglip_224", 318),
    "siglip2": siglip("vit_so400m_patch16_siglip_256", 291, act_kwargs={"approximate": "tanh"}),
    "worldwide": vit(
        quick_gelu=True,
        text_cfg={**_TEXT, "vocab_size": 318, "hf_tokenizer_name": "acme/a-tokenizer", "pool_type": "eos", "eos_id": 2},
    ),
}
"""Configurations by what they stand for: OpenAI's ViTs, SigLIP, SigLIP 2 of a fixed size, MetaCLIP 2's text tower."""


def write_open_clip(folder: Path, family: str = "vit", seed: int = 0) -> Path:
    """Write a checkpoint of a family with its tokenizer, and return its folder."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = FAMILIES[family]
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    save_file(weights(config["model_cfg"], seed), folder / "open_clip_model.safetensors")
    if family == "siglip2":
        _write_gemmas(folder)
    elif config["model_cfg"]["text_cfg"].get("hf_tokenizer_name"):
        write_sentencepiece(folder)
    else:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(SAMPLE / name, folder / name)
    return folder


def weights(model: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """Return random tensors by open_clip's names, float32."""
    random = np.random.RandomState(seed)
    shapes = {**_image_shapes(model), **_text_shapes(model), "logit_scale": ()}
    tensors = {}
    for name, shape in sorted(shapes.items()):
        values = 0.3 * random.standard_normal(shape) if len(shape) < 2 else 0.2 * random.standard_normal(shape)
        is_norm = "ln_" in name or "norm" in name
        tensors[name] = np.asarray(1 + values if is_norm and name.endswith("weight") else values, np.float32)
    return tensors


def _image_shapes(model: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    vision = model["vision_cfg"]
    if "timm_model_name" not in vision:
        inner, patch = 4 * WIDTH, vision["patch_size"]
        return {
            "visual.class_embedding": (WIDTH,),
            "visual.positional_embedding": ((SIDE // patch) ** 2 + 1, WIDTH),
            "visual.proj": (WIDTH, model["embed_dim"]),
            "visual.conv1.weight": (WIDTH, 3, patch, patch),
            **_norm("visual.ln_pre", WIDTH),
            **_norm("visual.ln_post", WIDTH),
            **_blocks("visual.transformer.resblocks", WIDTH, inner),
        }
    shapes: dict[str, tuple[int, ...]] = {
        "visual.trunk.pos_embed": (1, (SIDE // 16) ** 2, WIDTH),
        "visual.trunk.patch_embed.proj.weight": (WIDTH, 3, 16, 16),
        "visual.trunk.patch_embed.proj.bias": (WIDTH,),
        **_norm("visual.trunk.norm", WIDTH),
        "visual.trunk.attn_pool.latent": (1, 1, WIDTH),
        **_linear("visual.trunk.attn_pool.q", WIDTH, WIDTH),
        **_linear("visual.trunk.attn_pool.kv", 2 * WIDTH, WIDTH),
        **_linear("visual.trunk.attn_pool.proj", WIDTH, WIDTH),
        **_norm("visual.trunk.attn_pool.norm", WIDTH),
        **_mlp("visual.trunk.attn_pool.mlp.fc", ("1", "2"), WIDTH, 4 * WIDTH),
    }
    for layer in range(LAYERS):
        block = f"visual.trunk.blocks.{layer}"
        shapes |= {
            **_norm(f"{block}.norm1", WIDTH),
            **_norm(f"{block}.norm2", WIDTH),
            **_linear(f"{block}.attn.qkv", 3 * WIDTH, WIDTH),
            **_linear(f"{block}.attn.proj", WIDTH, WIDTH),
            **_mlp(f"{block}.mlp.fc", ("1", "2"), WIDTH, 4 * WIDTH),
        }
    return shapes


def _text_shapes(model: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    text, start = model["text_cfg"], "text." if model.get("custom_text") else ""
    width = text["width"]
    biased = text.get("proj_bias")
    projection = (
        _linear(f"{start}text_projection", model["embed_dim"], width)
        if biased
        else {f"{start}text_projection": (width, model["embed_dim"])}
    )
    return {
        f"{start}token_embedding.weight": (text["vocab_size"], width),
        f"{start}positional_embedding": (text["context_length"], width),
        **_norm(f"{start}ln_final", width),
        **projection,
        **_blocks(f"{start}transformer.resblocks", width, 4 * width),
    }


def _blocks(start: str, width: int, inner: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(LAYERS):
        block = f"{start}.{layer}"
        shapes |= {
            **_norm(f"{block}.ln_1", width),
            **_norm(f"{block}.ln_2", width),
            f"{block}.attn.in_proj_weight": (3 * width, width),
            f"{block}.attn.in_proj_bias": (3 * width,),
            **_linear(f"{block}.attn.out_proj", width, width),
            **_mlp(f"{block}.mlp.c_", ("fc", "proj"), width, inner),
        }
    return shapes


def _mlp(start: str, names: tuple[str, str], width: int, inner: int) -> dict[str, tuple[int, ...]]:
    return {**_linear(start + names[0], inner, width), **_linear(start + names[1], width, inner)}


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def write_sentencepiece(folder: Path) -> None:
    """Write a tokenizer as SigLIP's and XLM-R's are: pieces of sentencepiece, </s> at the end, padded with <pad>."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = list("▁abcdefghilmnoprstuéκурж")
    pieces = [*special, *bytes_, *letters, *(f"▁{word}" for word in WORDS)]
    pieces += [f"▁spare{number}" for number in range(318 - len(pieces))]
    scores = [(piece, 0.0 if piece in special else -2.0 - (len(piece) == 1) * 8) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=3, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>",
        "model_max_length": 64,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _write_gemmas(folder: Path) -> None:
    """Write a tokenizer as SigLIP 2's are: byte-level pieces and merges under Gemma's first tokens."""
    from transformers import GemmaTokenizer

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces = [*special, "▁", *"aAbBéÉßσςredcupR", "re", "red", "▁red", "cu", "cup", "▁cup", "ab", "ba", "▁a", "▁ab"]
    pieces = list(dict.fromkeys(pieces))
    pieces += [f"spare{number}" for number in range(291 - len(pieces))]
    merges = [("r", "e"), ("re", "d"), ("▁", "red"), ("c", "u"), ("cu", "p"), ("▁", "cup"), ("a", "b"), ("b", "a"),
              ("▁", "a"), ("▁", "ab")]  # fmt: skip
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    settings = {"add_bos_token": False, "add_eos_token": True, "padding_side": "right"}  # as open_clip saves them
    GemmaTokenizer(vocab=vocabulary, merges=merges, **settings).save_pretrained(folder)
