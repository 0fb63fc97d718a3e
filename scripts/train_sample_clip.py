"""Trains the sample CLIP model on drawn images, measures it and writes its model card."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import torch
from sample_clip.captions import write_caption
from sample_clip.card import Run, figures, write_card
from sample_clip.evaluation import measure
from sample_clip.model import IMAGE_SIDE, build_model, save_model
from sample_clip.pictures import Pool, load_pool
from sample_clip.tokens import train_tokenizer
from sample_clip.training import Schedule, train

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizer

CAPTIONS_FOR_TOKENIZER = 20_000
SAVE_EVERY = 300  # steps


@dataclass
class Progress:
    """Prints the loss, and saves the model to the output folder, at intervals."""

    model: CLIPModel
    tokenizer: CLIPTokenizer
    output: Path
    steps: int

    def __call__(self, step: int, loss: float, seconds: float) -> None:
        """Report a finished step."""
        if step % 25 == 0 or step == self.steps:
            click.echo(f"step {step} of {self.steps}, loss {loss:.3f}, {seconds:.0f} s")
        if step % SAVE_EVERY == 0 or step == self.steps:
            save_model(self.output, self.model, self.tokenizer)


def learn_tokenizer(pool: Pool, seed: int) -> CLIPTokenizer:
    """Learn a tokenizer for the captions of the pool."""
    rng = np.random.default_rng([seed, 1])
    rows = pool.labels[rng.integers(len(pool.labels), size=CAPTIONS_FOR_TOKENIZER)]
    return train_tokenizer([write_caption((a, b, c, d), rng).text for a, b, c, d in rows.tolist()])


def train_into(output: Path, schedule: Schedule, pictures: int, pool_file: Path | None) -> None:
    """Draw the training images, train, save, measure, and write the card."""
    started = time.monotonic()
    torch.manual_seed(schedule.seed)
    pool = load_pool(pool_file, pictures, IMAGE_SIDE)
    drawn = time.monotonic()
    click.echo(f"{pictures} training images ready after {drawn - started:.0f} s")
    tokenizer = learn_tokenizer(pool, schedule.seed)
    model = build_model(tokenizer)
    train(model, tokenizer, pool, schedule, Progress(model, tokenizer, output, schedule.steps))
    minutes = (time.monotonic() - drawn) / 60
    recalls = measure(output)
    click.echo(figures(recalls))
    write_card(output, model, Run(schedule, pictures, minutes, torch.get_num_threads()), recalls)


@click.command(context_settings={"show_default": True})
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("data/models/sample-clip"), help="Model folder."
)
@click.option("--steps", type=click.IntRange(min=1), default=1200, help="Batches of 256 images.")
@click.option("--pictures", type=click.IntRange(min=2000), default=24_000, help="Training images to draw.")
@click.option("--seed", type=int, default=0, help="Decides weights, batches and captions.")
@click.option("--threads", type=click.IntRange(min=1), default=2, help="Processor threads.")
@click.option("--pool", type=click.Path(path_type=Path), default=None, help="Keep the drawn images here (.npz).")
@click.option("--evaluate", type=click.Path(exists=True, path_type=Path), default=None, help="Only measure this model.")
def main(
    *,
    output: Path,
    steps: int,
    pictures: int,
    seed: int,
    threads: int,
    pool: Path | None,
    evaluate: Path | None,
) -> None:
    """Train the sample model from scratch, or measure an existing one.

    On a machine that is busy with other work set OMP_WAIT_POLICY=passive: threads that spin while they wait for each
    other make training several times slower there.
    """
    torch.set_num_threads(threads)
    if evaluate is not None:
        click.echo(figures(measure(evaluate)))
        return
    train_into(output, Schedule(steps=steps, seed=seed), pictures, pool)


if __name__ == "__main__":
    main()
