"""Public models worth choosing, with what is published about them."""

from __future__ import annotations

from dataclasses import dataclass

_MARQO = "https://github.com/marqo-ai/marqo-ecommerce-embeddings"
_FASHION = "https://github.com/marqo-ai/marqo-FashionCLIP/blob/main/LEADERBOARD.md"
_OPEN_CLIP = "https://github.com/mlfoundations/open_clip/blob/main/docs/openclip_retrieval_results.csv"

MEASURES = {
    _MARQO: "nDCG@10 of finding a product's image by its title among a million",
    _FASHION: "recall@10 of finding fashion images by text, mean of six data sets",
    _OPEN_CLIP: "recall@5 of finding MSCOCO's images by their English captions",
}
"""What a source's figures measure; figures of different sources cannot be compared."""

SPEED = {
    "ViT-B/32 at 224": 1.0,
    "ViT-B/16 at 224": 0.26,
    "ViT-B/16 at 256": 0.20,
    "ViT-L/14 at 224": 0.055,
    "ViT-L/16 at 256": 0.063,
}
"""Images by shape of the image tower in the time that ViT-B/32 takes for one, by benchmarks/model_shapes.py."""


@dataclass(frozen=True, slots=True)
class RecommendedModel:
    """A public model: its size in millions of parameters, both towers, and what it is for.

    `quality` is a figure of `source`, whose measure is in `MEASURES`; None if no source here has one. `shape` is the
    image tower's, which decides the speed.
    """

    name: str
    purpose: str
    parameters_m: int
    dim: int
    shape: str
    languages: str
    licence: str
    quality: float | None = None
    source: str = ""


RECOMMENDED = (
    RecommendedModel(
        "Marqo/marqo-ecommerce-embeddings-B", "products of all kinds", 203, 768, "ViT-B/16 at 224", "English",
        "Apache-2.0", 0.668, _MARQO,
    ),
    RecommendedModel(
        "Marqo/marqo-ecommerce-embeddings-L", "products of all kinds", 652, 1024, "ViT-L/16 at 256", "English",
        "Apache-2.0", 0.726, _MARQO,
    ),
    RecommendedModel(
        "Marqo/marqo-fashionSigLIP", "fashion", 203, 768, "ViT-B/16 at 224", "English", "Apache-2.0", 0.340, _FASHION
    ),
    RecommendedModel(
        "Marqo/marqo-fashionCLIP", "fashion", 150, 512, "ViT-B/16 at 224", "English", "Apache-2.0", 0.290, _FASHION
    ),
    RecommendedModel(
        "openai/clip-vit-base-patch32", "fast, of anything", 151, 512, "ViT-B/32 at 224", "English", "MIT", 0.559,
        _OPEN_CLIP,
    ),
    RecommendedModel(
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "fast, of anything", 151, 512, "ViT-B/32 at 224", "English", "MIT",
        0.654, _OPEN_CLIP,
    ),
    RecommendedModel(
        "laion/CLIP-ViT-L-14-laion2B-s32B-b82K", "good, of anything", 428, 768, "ViT-L/14 at 224", "English", "MIT",
        0.711, _OPEN_CLIP,
    ),
    RecommendedModel(
        "timm/ViT-B-16-SigLIP", "good, of anything", 203, 768, "ViT-B/16 at 224", "English", "Apache-2.0", 0.724,
        _OPEN_CLIP,
    ),
    RecommendedModel(
        "timm/ViT-L-16-SigLIP-256", "good, of anything", 652, 1024, "ViT-L/16 at 256", "English", "Apache-2.0", 0.758,
        _OPEN_CLIP,
    ),
    RecommendedModel(
        "google/siglip2-base-patch16-224", "queries in many languages", 375, 768, "ViT-B/16 at 224", "109 languages",
        "Apache-2.0",
    ),
    RecommendedModel(
        "timm/ViT-B-16-SigLIP-i18n-256", "queries in many languages", 371, 768, "ViT-B/16 at 256", "109 languages",
        "Apache-2.0", 0.695, _OPEN_CLIP,
    ),
    RecommendedModel(
        "OFA-Sys/chinese-clip-vit-base-patch16", "queries in Chinese", 188, 512, "ViT-B/16 at 224", "Chinese",
        "licence on its page",
    ),
)  # fmt: skip
"""By purpose, the smaller before the larger."""
