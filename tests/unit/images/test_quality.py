"""Which images are unwanted, and what counts as one colour."""

from __future__ import annotations

import pytest
from PIL import Image
from support.image_files import saved
from support.reading import record_local

from ingest.core.records import ImageFile, Product, Reason, Skipped
from ingest.images.cache.entry import ImageContent
from ingest.images.decode.content import measure
from ingest.images.quality import Inspector, QualityFilter


@pytest.mark.parametrize(
    ("quality_filter", "reason"),
    [
        (QualityFilter(), None),
        (QualityFilter(min_side=40, skip_blank=False), None),
        (QualityFilter(min_side=41), Reason.TOO_SMALL),
        (QualityFilter(skip_blank=True), Reason.BLANK),
    ],
)
def test_unwanted_images_are_skipped(cache, tmp_path, quality_filter, reason):
    path = tmp_path / "a.png"
    path.write_bytes(saved(Image.new("RGB", (300, 40), "red"), "PNG"))
    image_file = ImageFile(Product("A", "a.png", {}, 3), path, record_local(cache, "A", path).sha256)
    for _ in range(2):  # measured, then known
        record = Inspector(cache, quality_filter)(image_file)
        assert getattr(record, "reason", None) == reason
    skipped = Skipped("B", "images", Reason.NO_IMAGE, "none", 1)
    assert Inspector(cache, quality_filter)(skipped) is skipped


def test_noise_of_compression_is_still_one_colour(photo):
    grey = Image.new("RGB", (64, 64), (120, 121, 119))
    grey.putpixel((63, 0), (122, 121, 119))
    assert measure(grey) == ImageContent(64, 64, blank=True)
    grey.putpixel((63, 0), (160, 121, 119))
    assert not measure(grey).blank
    assert not measure(photo).blank
