"""Checkpoints of random weights, small enough to embed a picture in a millisecond."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "models" / "sample-clip"
SIDE = 32
DIM = 16
_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def write_clip(folder: Path, seed: int = 0, *, spare_tokens: int = 0) -> Path:
    """Write a CLIP of dim 16 that takes 32 × 32 pixels; no text has its vocabulary's `spare_tokens`."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(seed)
    tokens = _tokenizer(folder)
    tokens["vocab_size"] += spare_tokens
    config = CLIPConfig(
        text_config={**_TOWER, **tokens, "max_position_embeddings": 32, "projection_dim": DIM},
        vision_config={**_TOWER, "image_size": SIDE, "patch_size": 8, "projection_dim": DIM},
        projection_dim=DIM,
    )
    _spread(CLIPModel(config)).save_pretrained(folder)
    steps = json.loads((SAMPLE / "preprocessor_config.json").read_text(encoding="utf-8"))
    steps |= {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(steps), encoding="utf-8")
    return folder


def write_siglip(folder: Path, seed: int = 0) -> Path:
    """Write a SigLIP of dim 32 that takes 32 × 32 pixels."""
    import torch
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(seed)
    tokens = _tokenizer(folder)
    config = SiglipConfig(
        text_config={**_TOWER, **tokens, "max_position_embeddings": 24, "projection_size": 32},
        vision_config={**_TOWER, "image_size": SIDE, "patch_size": 8},
    )
    _spread(SiglipModel(config)).save_pretrained(folder)
    steps = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": SIDE, "width": SIDE},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(steps), encoding="utf-8")
    return folder


def write_siglip2(folder: Path, tokenizer_class: str = "GemmaTokenizer", seed: int = 0) -> Path:
    """Write a SigLIP 2 of a fixed size: as on the hub, a SigLIP by its type, whose vocabulary begins as Gemma's."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(seed)
    write_siglip(folder, seed)
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "red", "cup", "Red", "Cup", "RED", "CUP", "été", "Été"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": tokenizer_class, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    config = SiglipConfig(
        text_config={**_TOWER, "vocab_size": len(words), "max_position_embeddings": 8, "projection_size": 32},
        vision_config={**_TOWER, "image_size": SIDE, "patch_size": 8},
    )
    _spread(SiglipModel(config)).save_pretrained(folder)
    return folder


def _tokenizer(folder: Path) -> dict[str, int]:
    """Copy the sample model's tokenizer, and return what a text tower must know of it."""
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SAMPLE / name, folder / name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _spread(model: Any) -> Any:
    """Make the weights large: as a model is made, all pictures have nearly the same vector."""
    import torch

    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1 and "norm" not in name:
                weights.normal_(0.0, 0.15)
    return model.eval()
