"""Recall of the sample model on drawings it was never trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from sample_catalog.catalog import Combination, all_combinations
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from .captions import plain_query
from .model import embed_pictures, embed_tokens
from .pictures import GALLERY_SEED, QUERY_SEED, evaluation_pictures, split_combinations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image


@dataclass(frozen=True)
class Recall:
    """Recall, 0 to 1, for combinations that were trained on and for those that were held out."""

    at: int
    text_seen: float
    text_held_out: float
    image_seen: float
    image_held_out: float


@dataclass(frozen=True)
class Embedder:
    """A saved model with its own tokenizer and image processor, as a user of the folder would load them."""

    model: CLIPModel
    folder: Path

    @classmethod
    def load(cls, folder: Path) -> Embedder:
        """Load the model in float32 for measuring."""
        return cls(CLIPModel.from_pretrained(folder).eval(), folder)

    @torch.inference_mode()
    def pictures(self, pictures: Sequence[Image.Image]) -> Tensor:
        """Embed images as unit vectors (n, 128) float32."""
        processor = AutoImageProcessor.from_pretrained(self.folder, use_fast=False)
        chunks = [pictures[start : start + 128] for start in range(0, len(pictures), 128)]
        prepared = [processor(images=list(chunk), return_tensors="pt")["pixel_values"] for chunk in chunks]
        return torch.cat([embed_pictures(self.model, pixels) for pixels in prepared])

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as unit vectors (n, 128) float32."""
        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        encoded = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        return embed_tokens(self.model, encoded["input_ids"], encoded["attention_mask"])


def ranks(queries: Tensor, gallery: Tensor, answers: Sequence[int]) -> Tensor:
    """Return (queries,) int64, the rank, from 0, of each query's right gallery item."""
    similarity = queries @ gallery.T
    right = similarity.gather(1, torch.tensor(answers)[:, None])
    return (~(similarity < right)).sum(dim=1) - 1  # so that a tie, or a NaN, counts against the model


def gallery_of_all(embedder: Embedder) -> Tensor:
    """Embed one unseen drawing of every combination, in the order of `all_combinations`."""
    return embedder.pictures(evaluation_pictures(GALLERY_SEED, all_combinations()))


def text_ranks(embedder: Embedder, gallery: Tensor, combinations: Sequence[Combination]) -> Tensor:
    """Return the ranks at which texts like "red striped mug" find the drawing of their combination."""
    queries = embedder.texts([plain_query(*combination) for combination in combinations])
    return ranks(queries, gallery, _places(combinations))


def image_ranks(embedder: Embedder, gallery: Tensor, combinations: Sequence[Combination]) -> Tensor:
    """Return the ranks at which another drawing of a combination finds the one in the gallery."""
    queries = embedder.pictures(evaluation_pictures(QUERY_SEED, list(combinations)))
    return ranks(queries, gallery, _places(combinations))


def _places(combinations: Sequence[Combination]) -> list[int]:
    place = {combination: at for at, combination in enumerate(all_combinations())}
    return [place[combination] for combination in combinations]


def measure(folder: Path) -> list[Recall]:
    """Measure recall at 1 and 5; the gallery holds every combination, seen and held out together."""
    embedder = Embedder.load(folder)
    gallery = gallery_of_all(embedder)
    seen, held_out = split_combinations()
    found = [ranking(embedder, gallery, part) for ranking in (text_ranks, image_ranks) for part in (seen, held_out)]
    return [Recall(at, *(float((ranking < at).float().mean()) for ranking in found)) for at in (1, 5)]
