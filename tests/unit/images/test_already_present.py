"""What is told of a block of products is what the images stage would find out about each, only sooner."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from support.http_server import Answer

from ingest.core.records import ImageFile, Product, Reason, Skipped, Stage
from ingest.images.already_present import PresentImages
from ingest.images.cache.cache import ImageCache
from ingest.images.resolver import ImageResolver, RefetchPolicy

NAMES = (
    "a.jpg",
    "./a.jpg",
    "sub/b.jpg",
    "sub/../a.jpg",
    "back\\slash.jpg",
    "link.jpg",
    "out/c.jpg",
    "no.jpg",
    "\ud800",
)


def products(*images):
    return [Product(f"P{number}", image, {}, number + 2) for number, image in enumerate(images)]


def stocked(folder: Path) -> tuple[Path, Path]:
    """Make two roots, some pictures in each, and one outside that links lead to."""
    first, second, outside = folder / "first", folder / "second", folder / "outside"
    for place in (first / "sub", second / "sub", outside):
        place.mkdir(parents=True)
    for place in (first / "a.jpg", first / "sub/b.jpg", first / "back\\slash.jpg", second / "sub/b.jpg",
                  outside / "c.jpg"):  # fmt: skip
        place.write_bytes(f"a picture at {place.name}".encode())
    (first / "link.jpg").symlink_to(outside / "c.jpg")
    (first / "out").symlink_to(outside)
    return first, second


@given(
    st.lists(st.sampled_from(NAMES), max_size=12),
    st.lists(st.sampled_from(["change", "touch", "remove", "appear", "fewer roots", "more roots"]), max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_no_block_is_told_otherwise_than_each_of_it(images, happens):
    with TemporaryDirectory() as folder:
        first, second = stocked(Path(folder))
        roots = [first] if "more roots" in happens else [first, second]
        with ImageCache(Path(folder) / "cache") as cache:
            fetch = ImageResolver(cache, None, *roots)
            for record in products(*images):
                fetch(record)
            if "change" in happens:
                (first / "a.jpg").write_bytes(b"another")
            if "touch" in happens:
                os.utime(first / "sub/b.jpg", ns=(1, 1))
            if "remove" in happens:
                (first / "sub/b.jpg").unlink()
            if "appear" in happens:
                (first / "no.jpg").write_bytes(b"new")
            roots = [first] if "fewer roots" in happens else [first, second]
            told = PresentImages(cache, *roots, refetch=RefetchPolicy())(products(*images))
            fetch = ImageResolver(cache, None, *roots)
            for record, product in zip(told, products(*images), strict=True):
                assert record == (fetch(product) if isinstance(record, ImageFile) else product)


def test_what_was_seen_before_is_told_wherever_it_lies(tmp_path, cache, server, downloader, jpeg):
    server.serve("/p.jpg", Answer(body=jpeg))
    first, second = stocked(tmp_path)
    (second / "d.jpg").write_bytes(jpeg)
    records = products("a.jpg", "./sub/b.jpg", "d.jpg", str(first / "a.jpg"), server.url("/p.jpg"))
    fetch = ImageResolver(cache, downloader, first, second)
    present = PresentImages(cache, first, second, refetch=RefetchPolicy())
    assert present(records) == records
    pictures = [fetch(record) for record in records]
    assert all(isinstance(picture, ImageFile) for picture in pictures)
    assert present(records) == pictures


def test_what_is_to_be_asked_for_again_is_not_told(cache, server, downloader, jpeg, tmp_path):
    server.serve("/p.jpg", Answer(body=jpeg))
    (record,) = products(server.url("/p.jpg"))
    ImageResolver(cache, downloader, tmp_path)(record)
    assert PresentImages(cache, tmp_path, refetch=RefetchPolicy(older_than_s=0))([record]) == [record]


def test_a_picture_fetched_from_elsewhere_or_gone_is_not_told(cache, server, downloader, jpeg, tmp_path):
    server.serve("/p.jpg", Answer(body=jpeg))
    (record,) = products(server.url("/p.jpg"))
    picture = ImageResolver(cache, downloader, tmp_path)(record)
    present = PresentImages(cache, tmp_path, refetch=RefetchPolicy())
    (moved,) = products(server.url("/q.jpg"))
    assert present([moved]) == [moved]
    picture.path.unlink()
    assert present([record]) == [record]


def test_skipped_records_and_ids_that_no_row_can_have_pass(cache, tmp_path):
    records = [Skipped("P9", Stage.CATALOG, Reason.NO_ID, "no id", 3), Product("\ud800", "a.jpg", {}, 4)]
    assert PresentImages(cache, tmp_path, refetch=RefetchPolicy())(records) == records
