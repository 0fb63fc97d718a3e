"""The sample model: a CLIP of two million weights, and saving it the way `transformers` loads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

from .tokens import LONGEST_TEXT

if TYPE_CHECKING:
    from pathlib import Path

IMAGE_SIDE = 64  # pixels
EMBEDDING_LENGTH = 128


def build_model(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Build a model with fresh weights for this vocabulary."""
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": LONGEST_TEXT,
        "projection_dim": EMBEDDING_LENGTH,
        "pad_token_id": tokenizer.pad_token_id,
        **special,
    }
    vision = {
        "hidden_size": 192,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": IMAGE_SIDE,
        "patch_size": 8,
        "projection_dim": EMBEDDING_LENGTH,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=EMBEDDING_LENGTH))
    model.set_attn_implementation("eager")  # measured a third faster to train than the fused one on a CPU
    return model


def build_image_processor() -> CLIPImageProcessorPil:
    """Build CLIP's image processor, on Pillow, for the size of this model."""
    return CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIDE}, crop_size={"height": IMAGE_SIDE, "width": IMAGE_SIDE}
    )


def save_model(folder: Path, model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    """Write configuration, weights (float32), tokenizer and image processor files."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.ingest_sample = True  # makes every run with it say that it is a sample
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # otherwise only its owner could read it
    CLIPProcessor(image_processor=build_image_processor(), tokenizer=tokenizer).save_pretrained(folder)
    build_image_processor().save_pretrained(folder)


def embed_pictures(model: CLIPModel, pixels: Tensor) -> Tensor:
    """Embed prepared images (n, 3, side, side) as unit vectors (n, 128) float32."""
    pooled = model.vision_model(pixel_values=pixels).pooler_output
    return torch.nn.functional.normalize(model.visual_projection(pooled).float(), dim=-1)


def embed_tokens(model: CLIPModel, tokens: Tensor, mask: Tensor) -> Tensor:
    """Embed texts, token ids (n, length) with their mask, as unit vectors (n, 128) float32."""
    pooled = model.text_model(input_ids=tokens, attention_mask=mask).pooler_output
    return torch.nn.functional.normalize(model.text_projection(pooled).float(), dim=-1)
