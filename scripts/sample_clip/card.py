"""The model card: what the sample model is, how it was made and what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sample_catalog.surfaces import PATTERNS

from .pictures import COLOUR_NAMES, KIND_NAMES, split_combinations

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import CLIPModel

    from .evaluation import Recall
    from .training import Schedule

CARD = """---
library_name: transformers
pipeline_tag: zero-shot-image-classification
tags: [clip, sample]
---

# sample-clip

A very small CLIP for the drawn sample catalog, so that everything can be tried without a network.
It was trained from scratch by `scripts/train_sample_clip.py` on images from
`scripts/render_sample_catalog.py`; no pretrained weights and no photographs went into it.

It is for the sample catalog, tests and benchmarks. It knows {kinds} kinds of drawn product in
{colours} colours and {patterns} patterns, and English words for those. It accepts any photograph,
but what it says about one means little: use a published CLIP model for a real catalog.

## Model

- `CLIPModel`, {weights:,} weights in float32, embeddings of {length} numbers
- images: {vision.image_size} x {vision.image_size} pixels, patches of {vision.patch_size},
  {vision.num_hidden_layers} layers of width {vision.hidden_size}
- texts: byte-pair vocabulary of {text.vocab_size} tokens, up to {text.max_position_embeddings} tokens,
  {text.num_hidden_layers} layers of width {text.hidden_size}
- the image processor is the Pillow one; torchvision is not needed

## Training

{run.steps} batches of {batch} images out of {pictures:,} drawings, bfloat16 autocast, seed
{run.seed}; {minutes:.0f} minutes on {threads} processor threads. The loss is contrastive between
texts and images, where every image that has all a text names counts as right, and between two
drawings of the same combination. Heads that name kind, colour and pattern from either embedding
were trained along and thrown away.

Of the {all} combinations of kind, colour and pattern, {held_out} were held out: no drawing and no
full caption of them was trained on. Their kinds, colours and patterns were, in other combinations.

## Measured

The gallery is one drawing of each of the {all} combinations, seen and held out together. A query
counts as found when the drawing of its own combination is the nearest (recall at 1) or among the
five nearest (recall at 5). Text queries are of the form "red striped mug" ("red plain mug" for a
plain one); image queries are another drawing of the combination. No drawing of the gallery or
the queries was trained on. Measured in float32.

{figures}

To measure again: `python scripts/train_sample_clip.py --evaluate data/models/sample-clip`
"""


@dataclass(frozen=True)
class Run:
    """How the model was made: its schedule, the number of training images, the time and the threads."""

    schedule: Schedule
    pictures: int
    minutes: float
    threads: int


def figures(recalls: list[Recall]) -> str:
    """Lay out the measured figures as a Markdown table."""
    lines = ["| | seen combinations | held-out combinations |", "|---|---|---|"]
    for recall in recalls:
        sides = (
            ("text", recall.text_seen, recall.text_held_out),
            ("image", recall.image_seen, recall.image_held_out),
        )
        for side, seen, held_out in sides:
            lines.append(f"| {side} to image, recall at {recall.at} | {seen:.3f} | {held_out:.3f} |")
    return "\n".join(lines)


def write_card(folder: Path, model: CLIPModel, run: Run, recalls: list[Recall]) -> None:
    """Write README.md beside the weights."""
    seen, held_out = split_combinations()
    text = CARD.format(
        kinds=len(KIND_NAMES),
        colours=len(COLOUR_NAMES),
        patterns=len(PATTERNS),
        weights=sum(weight.numel() for weight in model.parameters()),
        length=model.config.projection_dim,
        vision=model.config.vision_config,
        text=model.config.text_config,
        run=run.schedule,
        batch=2 * run.schedule.pairs,
        pictures=run.pictures,
        minutes=run.minutes,
        threads=run.threads,
        all=len(seen) + len(held_out),
        held_out=len(held_out),
        figures=figures(recalls),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
