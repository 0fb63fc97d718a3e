"""Resizing on the device, here on CPU tensors: nearly the pixels that Pillow gives, and nearly the same vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.odd_jpegs import odd_jpeg

from ingest.core.records import Crop
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.embedding.device_resize import resize_crops
from ingest.embedding.preprocess import CLIP, Preprocessing
from ingest.images.decode.base import DecodedImage
from ingest.images.decode.model_pixels import ModelPixels

SIGLIP = replace(CLIP, keep_aspect=False, short_side=0)
SMALL = replace(CLIP, height=32, width=32, short_side=32)
ODD = replace(CLIP, height=40, width=24, short_side=47)
NEAREST_COSINE = 0.9995
FARTHEST, MEAN = 16, 0.3
"""Levels of 255: of a pixel, and on average."""


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return an image of smooth shapes and hard edges."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (7, 5, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.array(small)
    pixels[:: max(2, height // 9)] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def resized(crops: list[Crop | np.ndarray], steps: Preprocessing) -> np.ndarray:
    found = resize_crops(crops, steps.height, steps.width, "cpu").permute(0, 2, 3, 1).numpy()
    assert (found == found.astype(np.uint8)).all(), "whole numbers, as bytes are"
    return found.astype(np.int16)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """The same pixels, or a few levels beside them at hard edges: rows and columns are filtered in another order."""
    differences = np.abs(found.astype(np.int16) - expected)
    assert differences.max() <= FARTHEST
    assert differences.mean() <= MEAN


@given(
    st.sampled_from([CLIP, SIGLIP, SMALL, ODD]),
    st.integers(1, 700), st.integers(1, 700), st.integers(0, 9),
)  # fmt: skip
@settings(max_examples=150)
def test_the_pixels_are_nearly_those_of_pillow(steps, width, height, seed):
    image = noise(width, height, seed)
    crop = steps.crop(image)
    (found,) = resized([crop], steps)
    assert_close(found, steps(image))
    if isinstance(crop, Crop):
        assert_close(steps.resize(crop), steps(image))


@given(st.lists(st.tuples(st.integers(30, 400), st.integers(30, 400)), min_size=1, max_size=70))
@settings(max_examples=15)
def test_crops_of_all_sizes_are_resized_together(sizes):
    images = [noise(*size, seed) for seed, size in enumerate(sizes)]
    found = resized([SMALL.crop(image) for image in images], SMALL)
    for pixels, image in zip(found, images, strict=True):
        assert_close(pixels, SMALL(image))


def test_pixels_of_the_models_size_stay_what_they_are():
    pixels = np.asarray(noise(32, 32))
    (found,) = resized([pixels], SMALL)
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize(
    ("steps", "size"),
    [
        (SMALL, (32, 32)),
        (SMALL, (500, 120)),
        (replace(SMALL, resample=2), (60, 60)),
        (replace(SMALL, width=64), (60, 60)),
    ],
)
def test_what_the_device_has_no_part_in_is_resized_here(steps, size):
    found = steps.crop(noise(*size))
    assert not isinstance(found, Crop)
    np.testing.assert_array_equal(found, steps(noise(*size)))


@pytest.mark.parametrize("seeds", [range(start, start + 20) for start in range(0, 100, 20)], ids=str)
def test_vectors_of_odd_jpegs_hardly_differ(tmp_path, tiny_clip, seeds):
    """As for drafted JPEGs: 0.9995 or more, or these would be other vectors, and need another fingerprint."""
    checkpoint = resolve(str(tiny_clip))
    steps = checkpoint.preprocessing
    pairs = []
    for seed in seeds:
        path = tmp_path / f"{seed}.jpg"
        path.write_bytes(odd_jpeg(seed).content)
        outcomes = [ModelPixels(kind, steps.least)(path, b"", path.read_bytes()) for kind in (steps, steps.crop)]
        if all(isinstance(outcome, DecodedImage) for outcome in outcomes):
            pairs.append([outcome.pixels for outcome in outcomes])
    assert len(pairs) > len(seeds) / 2
    encoder = ClipEncoder(checkpoint, "cpu", "float32", 8)
    host, device = (encoder.images(list(pixels)) for pixels in zip(*pairs, strict=True))
    cosines = (host * device).sum(axis=1) / np.linalg.norm(host, axis=1) / np.linalg.norm(device, axis=1)
    assert cosines.min() >= NEAREST_COSINE
