"""Images saved as pixels, for a later run with torch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ingest.core.records import Decoded, ImageFile, Product, Reason, Skipped, Stage
from ingest.embedding.pixel_cache import PixelCache
from ingest.embedding.preprocess import CLIP, Preprocessing

STEPS = Preprocessing(4, 6, 4, keep_aspect=True, resample=3, mean=CLIP.mean, std=CLIP.std)
KEY = bytes(range(32))
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
SKIPPED = Skipped("s", Stage.DECODE, Reason.TRUNCATED, "cut off", 3)


def decoded(pixels: np.ndarray = PIXELS) -> Decoded:
    return Decoded(Product("a", "", {}, 2), KEY, pixels)


def image_file() -> ImageFile:
    return ImageFile(Product("b", "", {}, 3), Path("nowhere.jpg"), KEY)


def test_saved_pixels_are_used_instead_of_decoding(tmp_path):
    saved = PixelCache(tmp_path, STEPS)
    records = [decoded(), SKIPPED]
    assert list(saved.save(records)) == records
    again = PixelCache(tmp_path, STEPS)
    found, skipped = again.load([image_file(), SKIPPED])
    np.testing.assert_array_equal(found.decoded.pixels, PIXELS)
    assert (found.decoded.product, found.decoded.sha256) == (image_file().product, KEY)
    assert skipped is SKIPPED
    (kept,) = again.load([image_file()._replace(decoded=SKIPPED)])
    assert kept.decoded is SKIPPED
    assert (again.holds(KEY), again.holds(bytes(32))) == (True, False)


def test_numpy_loads_saved_pixels_of_any_memory_order(tmp_path):
    saved = PixelCache(tmp_path, STEPS)
    list(saved.save([decoded(np.asfortranarray(PIXELS))]))
    np.testing.assert_array_equal(np.load(saved.folder / "00" / f"{KEY.hex()}.npy"), PIXELS)


def test_an_image_is_saved_once(tmp_path):
    saved = PixelCache(tmp_path, STEPS)
    list(saved.save([decoded()]))
    before = (saved.folder / "00" / f"{KEY.hex()}.npy").stat()
    list(saved.save([decoded()]))
    assert (saved.folder / "00" / f"{KEY.hex()}.npy").stat() == before


def test_without_saved_pixels_all_pass_and_no_folder_is_made(tmp_path):
    saved = PixelCache(tmp_path / "none", STEPS)
    assert list(saved.load([image_file()])) == [image_file()]
    assert saved.get(KEY) is None
    saved.remove(KEY)
    assert not (tmp_path / "none").exists()


def test_pixels_of_another_geometry_are_not_used(tmp_path):
    list(PixelCache(tmp_path, STEPS).save([decoded()]))
    assert (
        PixelCache(tmp_path, Preprocessing(4, 6, 5, keep_aspect=True, resample=3, mean=CLIP.mean, std=CLIP.std)).get(
            KEY
        )
        is None
    )
    assert (
        PixelCache(tmp_path, Preprocessing(4, 6, 4, keep_aspect=True, resample=3, mean=(0, 0, 0), std=(1, 1, 1))).get(
            KEY
        )
        is not None
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b"PK\x03\x04 not a zip"),
        lambda path: np.save(path, np.zeros((4, 6, 3))),
        lambda path: np.save(path, np.zeros((6, 4, 3), np.uint8)),
        lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
    ],
)
def test_a_damaged_file_counts_as_missing(tmp_path, damage):
    saved = PixelCache(tmp_path, STEPS)
    list(saved.save([decoded()]))
    damage(saved.folder / "00" / f"{KEY.hex()}.npy")
    assert saved.get(KEY) is None
    assert list(saved.load([image_file()])) == [image_file()]


def test_pixels_of_an_embedded_image_are_removed(tmp_path):
    saved = PixelCache(tmp_path, STEPS)
    list(saved.save([decoded()]))
    saved.remove(KEY)
    saved.remove(KEY)
    assert list(saved.folder.rglob("*.npy")) == []


def test_a_folder_is_searched_once_and_leftovers_of_a_killed_writer_are_removed(tmp_path, monkeypatch):
    saved = PixelCache(tmp_path, STEPS)
    left = saved.folder / "00" / ".left.npy.1.tmp"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    looked = []
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, *args: looked.append(path) or glob(path, *args))
    keys = [bytes([first, second, *range(30)]) for first in (0, 1) for second in range(20)]
    list(saved.save(Decoded(Product("a", "", {}, 2), key, PIXELS) for key in keys))
    assert looked == [saved.folder / "00", saved.folder / "01"]
    assert not left.exists()
    assert len(list(saved.folder.rglob("*.npy"))) == 40


def test_pixels_decoded_at_reduced_size_are_not_used_as_exact_ones_nor_the_reverse(tmp_path):
    list(PixelCache(tmp_path, STEPS).save([decoded()]))
    whole = PixelCache(tmp_path, STEPS, exact=True)
    assert whole.get(KEY) is None
    assert list(whole.load([image_file()])) == [image_file()]
    list(whole.save([decoded(255 - PIXELS)]))
    np.testing.assert_array_equal(whole.get(KEY), 255 - PIXELS)
    np.testing.assert_array_equal(PixelCache(tmp_path, STEPS).get(KEY), PIXELS)


def test_pixels_of_an_embedded_image_are_removed_exact_or_not(tmp_path):
    for exact in (False, True):
        list(PixelCache(tmp_path, STEPS, exact=exact).save([decoded()]))
    PixelCache(tmp_path, STEPS, exact=True).remove(KEY)
    assert list(tmp_path.rglob("*.npy")) == []
