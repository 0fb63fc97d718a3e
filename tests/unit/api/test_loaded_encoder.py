"""`ingest.load_encoder`: texts, and images in every form that a program has them in."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import ingest
from ingest.embedding.checkpoint import resolve
from ingest.embedding.clip import ClipEncoder
from ingest.images.decode.decoder import open_rgb

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def encoder(tiny_clip: Path) -> ingest.LoadedEncoder:
    return ingest.load_encoder(tiny_clip, device="cpu", dtype="float32", batch_size=4)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def test_rows_have_unit_length_and_say_what_space_they_are_in(encoder, tiny_clip, photo):
    texts, images = encoder.texts(["red mug", "blue lamp"]), encoder.images([photo])
    assert (texts.shape, images.shape, texts.dtype) == ((2, encoder.dim), (1, encoder.dim), np.float32)
    assert np.linalg.norm(np.vstack([texts, images]), axis=1) == pytest.approx(1, abs=1e-6)
    assert encoder.fingerprint == resolve(str(tiny_clip)).space.fingerprint
    assert repr(encoder) == f"LoadedEncoder(tiny-clip, dim {encoder.dim}, on cpu)"


def test_an_image_has_the_vector_that_a_run_gives_it(encoder, tiny_clip, photo):
    checkpoint = resolve(str(tiny_clip))
    model = ClipEncoder(checkpoint, "cpu", "float32", 4)
    row = model.images(checkpoint.preprocessing(open_rgb(photo))[None])[0]
    assert encoder.images([photo])[0] == pytest.approx(row / np.linalg.norm(row), abs=1e-6)


def test_every_form_of_an_image_gives_one_vector(encoder, photo):
    with Image.open(photo) as opened:
        pixels = np.asarray(opened)
        opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
        rows = encoder.images([photo, str(photo), photo.read_bytes(), opened, pixels, opaque])
    assert np.abs(rows - rows[0]).max() < 1e-6


def test_an_image_of_pillow_is_turned_upright_and_put_on_white_as_its_file_is(encoder, tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (40, 80, 4), np.uint8)
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    with Image.open(path) as opened:
        rows = encoder.images([path, opened])
    assert np.abs(rows[1] - rows[0]).max() < 1e-6


def test_many_images_come_from_a_generator_in_order(encoder):
    images = [np.full((16, 16), 10 * number, np.uint8) for number in range(11)]
    together = encoder.images(image for image in images)
    assert together.shape == (11, encoder.dim)
    assert np.abs(together - np.vstack([encoder.images([image]) for image in images])).max() < 1e-5
    assert encoder.images([]).shape == encoder.texts([]).shape == (0, encoder.dim)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ("photo.png", "one image in place of several; give a list: [image]"),
        (np.zeros((4, 4, 3), np.uint8), "one image in place of several"),
        (["gone.png"], "image 0: gone.png: no such file"),
        ([np.zeros((4, 4), np.uint8), b"no image"], "image 1: "),
        ([np.zeros((4, 4, 3), np.float32)], "image 0: an array of float32, 4 × 4 × 3; give uint8"),
        ([np.zeros((0, 4, 3), np.uint8)], "image 0: an array of uint8, 0 × 4 × 3"),
        ([np.zeros((4, 4, 7), np.uint8)], "image 0: an array of uint8"),
        ([7], "image 0: of type int; give a path"),
    ],
)
def test_what_is_no_image_is_named_by_its_number(encoder, images, said):
    with pytest.raises(ingest.QueryError) as raised:
        encoder.images(images)
    assert said in str(raised.value)


def test_a_broken_image_of_pillow_is_an_error_of_ours(encoder, photo):
    cut = io.BytesIO(photo.read_bytes()[:-2000])
    with Image.open(cut) as opened, pytest.raises(ingest.QueryError, match="image 0: "):
        encoder.images([opened])


@pytest.mark.parametrize(("texts", "said"), [("red mug", "one text in place of several"), (["a", " "], "is empty")])
def test_texts_are_a_list_of_something(encoder, texts, said):
    with pytest.raises(ingest.QueryError, match=said):
        encoder.texts(texts)


def test_a_model_that_is_missing_is_said_in_the_words_of_python(tmp_path):
    with pytest.raises(ingest.ModelError, match="no such folder; `model` takes a hub id or a folder"):
        ingest.load_encoder(tmp_path / "gone")
    with pytest.raises(ingest.ModelError, match="`device` cup: no such device"):
        ingest.load_encoder(tmp_path, device="cup")
