"""Images found for a block of products are those that the resolver finds for each."""

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
from ingest.images.resolver import ImageResolver, RefetchPolicy, UnreadFile
from ingest.images.roots import ImageRoots
from ingest.images.unread_files import UnreadFiles

NAMES = (
    "a.jpg",
    "./a.jpg",
    "sub/b.jpg",
    "sub/../a.jpg",
    "back\\slash.jpg",
    "link.jpg",
    "out/c.jpg",
    "no.jpg",
    ".//a.jpg",
    ".//{first}/sub/b.jpg",
    "{first}/sub/b.jpg",
    "\ud800",
)


def products(*images):
    return [Product(f"P{number}", image, {}, number + 2) for number, image in enumerate(images)]


def found_by(cache, downloader, roots):
    """Return a function from a product to its image, as the resolver and the reading of unread files find it."""
    resolve, read = ImageResolver(cache, downloader, ImageRoots(roots)), UnreadFiles(cache)
    return lambda product: read([resolve(product)])[0]


def stocked(folder: Path) -> tuple[Path, Path]:
    """Make two roots, some images in each, and one outside with links to it."""
    first, second, outside = folder / "first", folder / "second", folder / "outside"
    for place in (first / "sub", second / "sub", outside):
        place.mkdir(parents=True)
    for place in (first / "a.jpg", first / "sub/b.jpg", first / "back\\slash.jpg", second / "sub/b.jpg",
                  outside / "c.jpg"):  # fmt: skip
        place.write_bytes(f"an image at {place.name}".encode())
    (first / "link.jpg").symlink_to(outside / "c.jpg")
    (first / "out").symlink_to(outside)
    return first, second


@given(
    st.lists(st.sampled_from(NAMES), max_size=12),
    st.lists(st.sampled_from(["change", "touch", "remove", "appear", "fewer roots", "more roots"]), max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_a_block_gives_what_the_resolver_gives_for_each_product(images, happens):
    with TemporaryDirectory() as folder:
        first, second = stocked(Path(folder))
        roots = [first] if "more roots" in happens else [first, second]
        with ImageCache(Path(folder) / "cache") as cache:
            fetch = found_by(cache, None, roots)
            images = [image.format(first=first) for image in images]
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
            present = PresentImages(cache, ImageRoots(roots), RefetchPolicy())(products(*images))
            fetch = found_by(cache, None, roots)
            for record, product in zip(present, products(*images), strict=True):
                assert record == product or UnreadFiles(cache)([record])[0] == fetch(product)


def test_known_images_are_found_wherever_they_are(tmp_path, cache, server, downloader, jpeg):
    server.serve("/p.jpg", Answer(body=jpeg))
    first, second = stocked(tmp_path)
    (second / "d.jpg").write_bytes(jpeg)
    records = products("a.jpg", "./sub/b.jpg", "d.jpg", str(first / "a.jpg"), server.url("/p.jpg"))
    fetch = found_by(cache, downloader, [first, second])
    present = PresentImages(cache, ImageRoots([first, second]), RefetchPolicy())
    assert present(records) == [
        UnreadFile(records[0], first / "a.jpg", 17),
        UnreadFile(records[1], first / "sub/b.jpg", 17),
        UnreadFile(records[2], second / "d.jpg", len(jpeg)),
        UnreadFile(records[3], first / "a.jpg", 17),
        records[4],
    ]
    image_files = [fetch(record) for record in records]
    assert all(isinstance(image_file, ImageFile) for image_file in image_files)
    assert present(records) == image_files


def test_an_image_to_be_fetched_again_is_left_to_the_resolver(cache, server, downloader, jpeg, tmp_path):
    server.serve("/p.jpg", Answer(body=jpeg))
    (record,) = products(server.url("/p.jpg"))
    ImageResolver(cache, downloader, ImageRoots([tmp_path]))(record)
    assert PresentImages(cache, ImageRoots([tmp_path]), RefetchPolicy(older_than_s=0))([record]) == [record]


def test_an_image_from_another_url_or_a_missing_one_is_left_to_the_resolver(cache, server, downloader, jpeg, tmp_path):
    server.serve("/p.jpg", Answer(body=jpeg))
    (record,) = products(server.url("/p.jpg"))
    image_file = ImageResolver(cache, downloader, ImageRoots([tmp_path]))(record)
    present = PresentImages(cache, ImageRoots([tmp_path]), RefetchPolicy())
    (moved,) = products(server.url("/q.jpg"))
    assert present([moved]) == [moved]
    image_file.path.unlink()
    assert present([record]) == [record]


def test_skipped_records_and_invalid_ids_pass(cache, tmp_path):
    records = [Skipped("P9", Stage.CATALOG, Reason.NO_ID, "no id", 3), Product("\ud800", "a.jpg", {}, 4)]
    assert PresentImages(cache, ImageRoots([tmp_path]), RefetchPolicy())(records) == records
