"""Pixels compared with transformers' own Pillow processors, and configurations that are refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data
from support.checkpoints import SAMPLE
from support.late import transformers

from ingest.core.errors import ModelError
from ingest.embedding import preprocess
from ingest.embedding.preprocess import CLIP, from_config

CLIP_32 = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
}
SIGLIP_32 = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}}
ODD = [
    (1, 1), (1, 2), (2, 1), (1, 31), (31, 1), (7, 5), (31, 33), (32, 32), (33, 32), (32, 1000), (1000, 32),
    (3, 96), (96, 3), (224, 224), (225, 223), (1, 2000), (2000, 1),
]  # fmt: skip


def sizes() -> list[tuple[int, int]]:
    """Return odd and random sizes; only those one pixel wide are longer than 32 times their width."""
    rng = np.random.default_rng(7)
    random = [tuple(int(2 ** rng.uniform(0, 9)) for _ in range(2)) for _ in range(60)]
    return ODD + [(width, height) for width, height in random if max(width, height) <= 32 * min(width, height)]


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 10_007 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def theirs(processor: object, image: Image.Image) -> np.ndarray:
    """Return the processor's pixels before scaling and normalising, (height, width, 3) uint8."""
    made = processor(image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
    assert made.min() >= 0
    return made.transpose(1, 2, 0).astype(np.uint8)


@pytest.mark.parametrize("side", [32, 33])
def test_clips_pixels_are_those_of_transformers(side):
    config = {**CLIP_32, "size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    steps, processor = from_config(config, "a model"), transformers.CLIPImageProcessorPil(**config)
    for size in sizes():
        image = noise(*size)
        np.testing.assert_array_equal(steps(image), theirs(processor, image), err_msg=str(size))


@pytest.mark.parametrize(("edge", "height", "width"), [(40, 32, 32), (32, 48, 40), (30, 32, 31), (31, 20, 60)])
def test_crops_smaller_and_larger_than_the_resized_image_are_those_of_transformers(edge, height, width):
    config = {**CLIP_32, "size": {"shortest_edge": edge}, "crop_size": {"height": height, "width": width}}
    steps, processor = from_config(config, "a model"), transformers.CLIPImageProcessorPil(**config)
    for size in sizes()[:40]:
        image = noise(*size)
        np.testing.assert_array_equal(steps(image), theirs(processor, image), err_msg=str(size))


@pytest.mark.parametrize("resample", [0, 1, 2, 3, 4, 5])
def test_every_resampling_is_pillows(resample):
    config = {**CLIP_32, "resample": resample}
    image = noise(77, 51)
    expected = theirs(transformers.CLIPImageProcessorPil(**config), image)
    np.testing.assert_array_equal(from_config(config, "a model")(image), expected)


def test_siglips_pixels_are_those_of_transformers():
    steps, processor = from_config(SIGLIP_32, "a model"), transformers.SiglipImageProcessorPil(**SIGLIP_32)
    for size in sizes():
        image = noise(*size)
        np.testing.assert_array_equal(steps(image), theirs(processor, image), err_msg=str(size))


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_photographs_at_full_size_give_the_pixels_of_transformers(name):
    image = Image.fromarray(getattr(data, name)())
    np.testing.assert_array_equal(CLIP(image), theirs(transformers.CLIPImageProcessorPil(), image))


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (2, 40_000), (500, 20_004)])
def test_a_long_strip_is_cheap_and_shows_its_middle(size):
    width, height = size
    ramp = np.linspace(0, 255, max(size)).astype(np.uint8)
    rows = ramp[None, :, None] if width > height else ramp[:, None, None]
    pixels = from_config(CLIP_32, "a model")(Image.fromarray(np.broadcast_to(rows, (height, width, 3)).copy()))
    assert pixels.shape == (32, 32, 3)
    assert abs(float(pixels.mean()) - 127.5) <= 2


def test_a_strip_beyond_the_limit_differs_from_transformers_by_half_a_pixel_at_most():
    rng = np.random.default_rng(3)
    for length in (2311, 2312, 2313, 2500):
        smooth = Image.fromarray(rng.integers(0, 256, (8, 40, 3), dtype=np.uint8)).resize((length, 70))
        config = {**CLIP_32, "size": {"shortest_edge": 32}}
        ours, their = from_config(config, "m")(smooth), theirs(transformers.CLIPImageProcessorPil(**config), smooth)
        assert np.abs(ours.astype(int) - their.astype(int)).max() <= 8, length


def test_the_pixels_own_their_memory_and_are_contiguous():
    pixels = CLIP(noise(640, 480))
    assert pixels.flags["C_CONTIGUOUS"]
    assert (pixels.shape, pixels.dtype) == ((224, 224, 3), np.uint8)


def test_an_empty_configuration_is_openais_clip():
    assert from_config({}, "a model") == CLIP
    assert from_config({"size": 224, "crop_size": 224, "feature_extractor_type": "CLIPFeatureExtractor"}, "m") == CLIP


def test_missing_keys_of_a_siglip_have_siglips_defaults():
    steps = from_config({"image_processor_type": "SiglipImageProcessor"}, "a model")
    assert (steps.height, steps.width, steps.keep_aspect) == (224, 224, False)
    assert steps.mean == steps.std == (0.5, 0.5, 0.5)
    image = noise(70, 90)
    np.testing.assert_array_equal(steps(image), theirs(transformers.SiglipImageProcessorPil(), image))


def test_the_sample_models_configuration_is_read():
    config = json.loads((SAMPLE / "preprocessor_config.json").read_text(encoding="utf-8"))
    assert from_config(config, "sample").mean == CLIP.mean


@pytest.mark.parametrize(
    "change",
    [
        {"do_resize": False},
        {"do_rescale": False},
        {"do_normalize": False},
        {"do_center_crop": False},
        {"do_pad": True},
        {"rescale_factor": 1 / 127.5},
        {"rescale_factor": "a lot"},
        {"size": {"shortest_edge": 32, "longest_edge": 64}},
        {"size": {"max_height": 32, "max_width": 32}},
        {"size": {"height": 48, "width": 48}},
        {"size": {}},
        {"size": "large"},
        {"size": None},
        {"size": {"shortest_edge": -1}},
        {"crop_size": {"shortest_edge": 32}},
        {"crop_size": {"height": 0, "width": 32}},
        {"crop_size": None},
        {"resample": 9},
        {"resample": "bicubic"},
        {"image_mean": [0.5]},
        {"image_mean": None},
        {"image_std": [0.5, 0.5, 0]},
        {"image_std": [0.5, 0.5, float("nan")]},
        {"image_processor_type": "ViTImageProcessor"},
        {"image_processor_type": "Siglip2ImageProcessor"},
        {"image_processor_type": 3},
    ],
)
def test_unsupported_steps_are_refused_in_one_line_that_names_the_model(change):
    with pytest.raises(ModelError) as caught:
        from_config({**CLIP_32, **change}, "some/model")
    message = str(caught.value)
    assert message.startswith("some/model: its preprocessing")
    assert len(message.splitlines()) == 1


def test_models_of_the_same_geometry_share_saved_pixels():
    other_mean = from_config({**CLIP_32, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}, "a model")
    assert other_mean.geometry == from_config(CLIP_32, "a model").geometry
    others = [{**CLIP_32, "resample": 2}, SIGLIP_32, {**CLIP_32, "crop_size": 31}, {**CLIP_32, "size": 33}]
    geometries = {from_config(config, "a model").geometry for config in [CLIP_32, *others]}
    assert len(geometries) == 5


def test_only_the_ends_of_strips_are_cut(monkeypatch):
    kept = noise(320, 10)
    assert preprocess._without_ends(kept) is kept
    assert preprocess._without_ends(noise(10, 1000)).size == (10, 320)


@pytest.mark.parametrize("spare", range(9))
def test_a_rounded_crop_begins_at_the_nearest_pixel_and_at_an_even_one_if_two_are_as_near(spare):
    """As torchvision's CenterCrop has it: int(round(spare / 2))."""
    steps = replace(CLIP, height=8, width=8, short_side=8, rounded_crop=True)
    columns = np.tile(np.arange(8 + spare, dtype=np.uint8)[None, :, None], (8, 1, 3))
    begins = [int(one(Image.fromarray(columns))[0, 0, 0]) for one in (steps, replace(steps, rounded_crop=False))]
    assert begins == [round(spare / 2), spare // 2]


def test_settings_that_fingerprints_cover_are_as_before_unless_the_crop_is_rounded():
    fields = {"height", "width", "short_side", "keep_aspect", "resample", "mean", "std"}
    assert set(CLIP.settings) == fields
    rounded = replace(CLIP, rounded_crop=True)
    assert set(rounded.settings) == fields | {"rounded_crop"}
    assert rounded.geometry != CLIP.geometry


@pytest.mark.parametrize("size", [(300, 227), (227, 300), (640, 427), (233, 224)])
def test_a_rounded_crop_is_handed_to_the_device_from_where_it_begins(size):
    steps = replace(CLIP, rounded_crop=True)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    part = steps.crop(image)
    pixels = part if isinstance(part, np.ndarray) else steps.resize(part)
    assert np.abs(pixels.astype(int) - steps(image).astype(int)).mean() < 1
