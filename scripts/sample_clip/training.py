"""Seeded contrastive training: batches, augmentation, the losses and the loop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from .captions import Caption, write_caption
from .model import EMBEDDING_LENGTH, embed_pictures, embed_tokens
from .pictures import ATTRIBUTES, Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import CLIPModel, CLIPTokenizer


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: `steps` batches of `pairs` combinations with two drawings each."""

    steps: int
    pairs: int = 128
    peak_rate: float = 1e-3
    warm_up: int = 100
    decay: float = 0.05
    seed: int = 0

    def rate(self, step: int) -> float:
        """Return the learning rate of a step: a linear rise, then half a cosine down to 0."""
        if step < self.warm_up:
            return self.peak_rate * (step + 1) / self.warm_up
        progress = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.peak_rate * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Batch:
    """Images (n, 3, side, side) float32 in 0 to 1, their labels (n, 4), and one caption for each."""

    pixels: Tensor
    labels: Tensor
    captions: list[Caption]


def batches(pool: Pool, schedule: Schedule) -> Iterator[Batch]:
    """Draw random combinations, two drawings of each, so that images can be compared with images."""
    rng = np.random.default_rng(schedule.seed)
    looks, member_of = np.unique(pool.labels[:, :3], axis=0, return_inverse=True)
    members = [np.flatnonzero(member_of.reshape(-1) == at) for at in range(len(looks))]
    for _ in range(schedule.steps):
        drawn = rng.choice(len(looks), schedule.pairs, replace=False)
        chosen = np.concatenate([rng.choice(members[at], 2, replace=False) for at in drawn])
        pixels = torch.from_numpy(pool.pixels[chosen]).permute(0, 3, 1, 2).float() / 255
        labels = pool.labels[chosen]
        captions = [write_caption((a, b, c, d), rng) for a, b, c, d in labels.tolist()]
        yield Batch(augment(pixels, rng), torch.from_numpy(labels), captions)


def augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Apply small turns, crops, flips and changes of light, too small to turn one colour name into another."""
    count = len(pixels)
    angle = rng.uniform(-0.09, 0.09, count)
    zoom = rng.uniform(0.82, 1.08, count)
    mirror = rng.choice((-1.0, 1.0), count)
    shift = rng.uniform(-0.08, 0.08, (count, 2))
    rows = [
        np.stack([zoom * np.cos(angle) * mirror, -zoom * np.sin(angle), shift[:, 0]], axis=1),
        np.stack([zoom * np.sin(angle) * mirror, zoom * np.cos(angle), shift[:, 1]], axis=1),
    ]
    moves = torch.from_numpy(np.stack(rows, axis=1)).float()
    grid = functional.affine_grid(moves, list(pixels.shape), align_corners=False)
    moved = functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    brightness = torch.from_numpy(rng.uniform(-0.05, 0.05, (count, 1, 1, 1))).float()
    contrast = torch.from_numpy(rng.uniform(0.9, 1.1, (count, 1, 1, 1))).float()
    warmth = torch.from_numpy(rng.uniform(-0.02, 0.02, (count, 3, 1, 1))).float()
    return ((moved - 0.5) * contrast + 0.5 + brightness + warmth).clamp(0, 1)


def normalised(pixels: Tensor) -> Tensor:
    """Normalise pixels of 0 to 1 as the image processor does for the model."""
    mean = torch.tensor(OPENAI_CLIP_MEAN).view(1, 3, 1, 1)
    return (pixels - mean) / torch.tensor(OPENAI_CLIP_STD).view(1, 3, 1, 1)


class AttributeHeads(nn.Module):
    """Training only: names kind, colour and pattern from an embedding, the same way for images and texts.

    Sharing the heads makes both sides hold each attribute in the same directions, apart from the others,
    which is what lets combinations that were never seen be told apart.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(EMBEDDING_LENGTH, len(names)) for names in ATTRIBUTES[:3])

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy over the attributes; labels (n, 3) are -1 for one that is not named."""
        losses = []
        for head, wanted in zip(self.heads, labels.T, strict=True):
            if bool((wanted >= 0).any()):
                losses.append(functional.cross_entropy(head(embeddings * 12.0), wanted, ignore_index=-1))
        return torch.stack(losses).mean()


def multi_positive(similarity: Tensor, positive: Tensor) -> Tensor:
    """Return the contrastive loss of each row over its right answers, of which there may be several."""
    likelihood = functional.log_softmax(similarity, dim=1)
    weight = positive.float()
    each = (likelihood * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
    return -each[weight.sum(dim=1) > 0].mean()


def matches(named: Tensor, labels: Tensor) -> Tensor:
    """Return (texts, images) bool: an image is right for a text if it has everything that the text names."""
    wanted = named[:, None, :]
    return ((wanted < 0) | (wanted == labels[None, :, :])).all(dim=2)


def losses(model: CLIPModel, heads: AttributeHeads, tokenizer: CLIPTokenizer, batch: Batch) -> Tensor:
    """Add up the loss of a batch: text with image both ways, image with image, attribute heads."""
    encoded = tokenizer(
        [caption.text for caption in batch.captions], padding=True, truncation=True, return_tensors="pt"
    )
    named = torch.tensor([caption.named for caption in batch.captions])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pictures = embed_pictures(model, normalised(batch.pixels))
        texts = embed_tokens(model, encoded["input_ids"], encoded["attention_mask"])
    scale = model.logit_scale.exp().clamp(max=60.0)
    fitting = matches(named, batch.labels)
    similarity = scale * texts @ pictures.T
    across = multi_positive(similarity, fitting) + multi_positive(similarity.T, fitting.T)
    itself = torch.eye(len(pictures), dtype=torch.bool)
    twin = (batch.labels[:, None, :3] == batch.labels[None, :, :3]).all(dim=2) & ~itself
    alike = multi_positive((scale * pictures @ pictures.T).masked_fill(itself, -1e4), twin)
    attributes = heads(pictures, batch.labels[:, :3]) + heads(texts, named[:, :3])
    return across + 0.5 * alike + attributes


def train(
    model: CLIPModel,
    tokenizer: CLIPTokenizer,
    pool: Pool,
    schedule: Schedule,
    report: Callable[[int, float, float], None],
) -> None:
    """Train in place; `report(step, loss, seconds)` is called after each step and may save or measure."""
    heads = AttributeHeads()
    weights = [*model.parameters(), *heads.parameters()]
    groups = [
        {"params": [w for w in weights if w.ndim >= 2], "weight_decay": schedule.decay},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=schedule.peak_rate, betas=(0.9, 0.98))
    started = time.monotonic()
    for step, batch in enumerate(batches(pool, schedule)):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        model.train()
        loss = losses(model, heads, tokenizer, batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        report(step + 1, float(loss.detach()), time.monotonic() - started)
