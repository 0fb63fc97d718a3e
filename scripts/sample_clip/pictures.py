"""Drawn images as arrays: which combinations are trained on, which are held out, and the pools of both."""

from __future__ import annotations

import io
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image
from sample_catalog.catalog import LINES, Combination, all_combinations
from sample_catalog.shapes import KINDS
from sample_catalog.surfaces import COLOURS, FINISHES, PATTERNS, draw

if TYPE_CHECKING:
    from pathlib import Path

KIND_NAMES = tuple(KINDS)
COLOUR_NAMES = tuple(COLOURS)
MATERIAL_NAMES = tuple(FINISHES)
ATTRIBUTES: tuple[tuple[str, ...], ...] = (KIND_NAMES, COLOUR_NAMES, PATTERNS, MATERIAL_NAMES)

HELD_OUT_SHARE = 0.1
SPLIT_SEED = 20
TRAINING_SEED = 1_000_000  # drawings of the training pool; the evaluation seeds below are never trained on
QUERY_SEED = 2_000_000
GALLERY_SEED = 3_000_000
EVALUATION_SIZE = 320  # pixels, as in the committed sample catalog


@dataclass(frozen=True)
class Pool:
    """Images (n, side, side, 3) uint8 and labels (n, 4) int64: kind, colour, pattern, material."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def split_combinations() -> tuple[list[Combination], list[Combination]]:
    """Split into (trained, held out); the attributes of a held-out combination are trained in others."""
    everything = all_combinations()
    shuffled = np.random.default_rng(SPLIT_SEED).permutation(len(everything))
    hidden = set(shuffled[: round(HELD_OUT_SHARE * len(everything))].tolist())
    held_out = [combination for place, combination in enumerate(everything) if place in hidden]
    trained = [combination for place, combination in enumerate(everything) if place not in hidden]
    for axis in range(3):
        if {c[axis] for c in held_out} - {c[axis] for c in trained}:
            raise ValueError("a held-out combination has an attribute that no trained one has")
    return trained, held_out


def as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """Return the image after JPEG compression, as in a catalog."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def drawing(combination: Combination, number: int, seed: int, size: int) -> tuple[Image.Image, str]:
    """Make one drawing of a combination; return it with its material. The seed and the number decide both."""
    rng = np.random.default_rng([seed, number])
    material = str(rng.choice(LINES[combination[0]].materials))
    return as_jpeg(draw(*combination, material, size, rng), int(rng.integers(70, 96))), material


def _pool_picture(job: tuple[Combination, int], side: int) -> tuple[npt.NDArray[np.uint8], list[int]]:
    combination, number = job
    size = int(np.random.default_rng([TRAINING_SEED - 1, number]).choice((96, 160, 320), p=(0.65, 0.25, 0.1)))
    picture, material = drawing(combination, number, TRAINING_SEED, size)
    small = picture.resize((side, side), Image.Resampling.BICUBIC)  # as the image processor does
    return np.asarray(small), label(combination, material)


def label(combination: Combination, material: str) -> list[int]:
    """Return kind, colour, pattern and material as indices into `ATTRIBUTES`."""
    names = (*combination, material)
    return [known.index(name) for known, name in zip(ATTRIBUTES, names, strict=True)]


def render_pool(count: int, side: int, workers: int | None = None) -> Pool:
    """Draw `count` training images, cycling through the trained combinations."""
    trained, _ = split_combinations()
    jobs = [(trained[number % len(trained)], number) for number in range(count)]
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        drawn = list(pool.map(partial(_pool_picture, side=side), jobs, chunksize=64))
    return Pool(np.stack([pixels for pixels, _ in drawn]), np.array([found for _, found in drawn], dtype=np.int64))


def load_pool(file: Path | None, count: int, side: int) -> Pool:
    """Load the training pool from `file` if it holds one of this size, else draw it and save it there."""
    if file is not None and file.exists():
        with np.load(file) as kept:
            if kept["pixels"].shape[:2] == (count, side):
                return Pool(kept["pixels"], kept["labels"])
    pool = render_pool(count, side)
    if file is not None:
        np.savez(file, pixels=pool.pixels, labels=pool.labels)
    return pool


def _evaluation_picture(job: tuple[Combination, int], seed: int, size: int) -> Image.Image:
    combination, number = job
    return drawing(combination, number, seed, size)[0]


def evaluation_pictures(
    seed: int, combinations: list[Combination], size: int = EVALUATION_SIZE, workers: int | None = None
) -> list[Image.Image]:
    """Draw one unseen image of each given combination; its number is its index among all combinations."""
    place = {combination: number for number, combination in enumerate(all_combinations())}
    jobs = [(combination, place[combination]) for combination in combinations]
    draw_one = partial(_evaluation_picture, seed=seed, size=size)
    if workers == 1:
        return [draw_one(job) for job in jobs]
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        return list(pool.map(draw_one, jobs, chunksize=16))
