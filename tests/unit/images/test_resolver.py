"""The images stage: a Product in, an ImageFile or a Skipped out, whatever the catalog says."""

from __future__ import annotations

import errno
import hashlib
import sys
from pathlib import Path

import pytest
from support.http_server import Answer
from support.image_files import drop

from ingest.core.errors import StorageError
from ingest.core.records import ImageFile, Product, Reason, Skipped, Stage
from ingest.images.cache.cache import ImageCache
from ingest.images.decode import on_threads
from ingest.images.resolver import ImageResolver, RefetchPolicy, UnreadFile
from ingest.images.roots import ImageRoots
from ingest.images.unread_files import UnreadFiles
from ingest.images.urls import UrlKey
from ingest.runtime import parallel


def product(image, product_id="P1"):
    return Product(product_id, image, {}, 7)


@pytest.fixture
def offline(cache, tmp_path):
    resolve, read = ImageResolver(cache, None, ImageRoots([tmp_path])), UnreadFiles(cache)
    return lambda record: read([resolve(record)])[0]


@pytest.fixture
def online(cache, downloader, tmp_path):
    return ImageResolver(cache, downloader, ImageRoots([tmp_path]))


def test_a_relative_path_starts_from_the_catalogs_folder(offline, tmp_path, jpeg):
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "é 1.jpg"
    path.write_bytes(jpeg)
    image_file = offline(product("images/é 1.jpg"))
    assert (image_file.path, image_file.sha256) == (path, hashlib.sha256(jpeg).digest())
    assert offline(product(str(path))) == ImageFile(product(str(path)), path, image_file.sha256)


def test_windows_separators_are_understood(offline, tmp_path, jpeg):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(jpeg)
    assert offline(product("images\\a.jpg")).path == tmp_path / "images" / "a.jpg"


def test_a_name_with_a_colon_or_a_backslash_is_still_a_file(offline, tmp_path, jpeg):
    for name in ("12:30.jpg", "a\\b.jpg"):
        (tmp_path / name).write_bytes(jpeg)
        assert offline(product(name)).path == tmp_path / name


def test_a_skipped_record_passes_through(offline):
    record = Skipped("P1", Stage.CATALOG, Reason.NO_ID, "no id", 3)
    assert offline(record) is record


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("missing.jpg", Reason.NOT_FOUND),
        ("/no/such/folder/a.jpg", Reason.DISALLOWED),
        ("C:\\images\\a.jpg", Reason.NOT_FOUND),
        ("file.txt/a.jpg", Reason.NOT_FOUND),
        ("a\0b.jpg", Reason.NOT_FOUND),
        ("x" * 5000, Reason.NOT_FOUND),
        ("loop", Reason.NOT_FOUND),
        (".", Reason.NOT_AN_IMAGE),
        ("/dev/zero", Reason.DISALLOWED),
        ("   ", Reason.NO_IMAGE),
        ("\ud800.jpg", Reason.BAD_ROW),
        ("http://", Reason.DISALLOWED),
        ("https:///a.jpg", Reason.DISALLOWED),
        ("https:a.jpg", Reason.DISALLOWED),
        ("http://[::1/a.jpg", Reason.DISALLOWED),
        ("ftp://host/a.jpg", Reason.DISALLOWED),
        ("s3://bucket/a.jpg", Reason.DISALLOWED),
        ("FILE:///etc/passwd", Reason.DISALLOWED),
        ("data:image/png;base64,AAAA", Reason.DISALLOWED),
    ],
)
def test_an_unusable_image_is_skipped_with_a_reason(offline, tmp_path, image, reason):
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    skipped = offline(product(image))
    assert (skipped.stage, skipped.reason, skipped.line) == (Stage.IMAGES, reason, 7)
    assert skipped.detail.isprintable()
    assert len(skipped.detail) < 300


def test_a_file_that_may_not_be_read_is_skipped(offline, tmp_path, monkeypatch):
    def denied(self):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    assert offline(product("a.jpg")).reason == Reason.DISALLOWED


@pytest.mark.parametrize(("code", "ends"), [(errno.EMFILE, True), (errno.ENOSPC, True), (errno.EIO, False)])
def test_an_error_that_every_product_would_meet_ends_the_run(offline, tmp_path, jpeg, monkeypatch, code, ends):
    def trouble(*_):
        raise OSError(code, "trouble")

    (tmp_path / "a.jpg").write_bytes(jpeg)
    monkeypatch.setattr(on_threads, "read_file", trouble)
    if ends:
        with pytest.raises(StorageError, match="trouble"):
            offline(product("a.jpg"))
    else:
        assert offline(product("a.jpg")).reason == Reason.UNREADABLE


def test_without_downloads_only_the_cache_is_used(offline, cache, jpeg):
    url = "https://shop.example/a.jpg?sig=s3cret"
    skipped = offline(product(url))
    assert skipped.reason == Reason.NOT_DOWNLOADED
    assert skipped.detail == "https://shop.example/a.jpg: not in the cache; pass --download-missing"
    drop(cache, "P1.jpg", jpeg)
    assert offline(product(url)).path == cache.folder / "P1.jpg"


def test_an_image_is_downloaded_once(online, cache, server, jpeg):
    url = server.serve("/a", Answer(jpeg))
    first = online(product(url))
    assert first.path == cache.folder / "P1.jpg"
    assert online(product(url)) == first
    assert server.asked("/a") == 1


def test_a_changed_url_is_fetched_and_a_changed_file_fetched_again(online, server, jpeg, other_jpeg):
    old, new = server.serve("/old", Answer(jpeg)), server.serve("/new", Answer(other_jpeg))
    first, second = online(product(old)), online(product(new))
    assert first.sha256 != second.sha256
    second.path.write_bytes(b"damaged")
    assert online(product(new)).sha256 == second.sha256
    assert server.asked("/new") == 2


def test_a_failed_download_leaves_its_reason_in_the_index_and_nothing_on_disk(online, cache, server, jpeg):
    url = server.serve("/a", Answer(jpeg[:500], length=len(jpeg)))
    skipped = online(product(url))
    assert skipped.reason == Reason.TRUNCATED
    assert cache.get("P1").failure == "truncated"
    assert {path.name for path in cache.folder.iterdir()} <= {
        "index.sqlite",
        "index.sqlite-wal",
        "index.sqlite-shm",
    }
    server.serve("/a", Answer(jpeg))
    assert isinstance(online(product(url)), ImageFile)
    assert cache.get("P1").tries == 2


def test_sixty_four_workers_keep_the_catalogs_order(cache, downloader, tmp_path, server, jpeg):
    urls = [server.serve(f"/{number}", Answer(jpeg if number % 3 else b"<html>")) for number in range(96)]
    products = [product(url, f"P{number}") for number, url in enumerate(urls)]
    got = list(
        parallel.parallel_map(ImageResolver(cache, downloader, ImageRoots([tmp_path])), products, workers=64, ahead=80)
    )
    assert [isinstance(record, ImageFile) for record in got] == [number % 3 > 0 for number in range(96)]
    assert all(record.path.name == f"P{number}.jpg" for number, record in enumerate(got) if number % 3)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_an_id_cannot_leave_the_cache_folder(online, cache, server, jpeg):
    image_file = online(product(server.serve("/a", Answer(jpeg)), "../../P1"))
    assert image_file.path.parent == cache.folder


def test_a_local_path_may_not_leave_the_catalogs_folder_unless_allowed(cache, tmp_path, jpeg):
    catalog, other = tmp_path / "catalog", tmp_path / "other"
    catalog.mkdir()
    other.mkdir()
    (other / "a.jpg").write_bytes(jpeg)
    (catalog / "link.jpg").symlink_to(other / "a.jpg")
    for image in ("../other/a.jpg", str(other / "a.jpg"), "link.jpg", "/etc/hostname"):
        skipped = ImageResolver(cache, None, ImageRoots([catalog]))(product(image))
        assert skipped.reason == Reason.DISALLOWED
        assert "--images-root" in skipped.detail
    for image in ("../other/a.jpg", str(other / "a.jpg"), "link.jpg", "a.jpg"):
        assert isinstance(ImageResolver(cache, None, ImageRoots([catalog, other]))(product(image)), UnreadFile)


def test_a_local_path_is_refused_if_the_catalog_has_no_folder(cache, tmp_path, jpeg):
    (tmp_path / "shirt.jpg").write_bytes(jpeg)
    for image in ("shirt.jpg", str(tmp_path / "shirt.jpg")):
        skipped = ImageResolver(cache, None, ImageRoots([]))(product(image=image))
        assert skipped.reason is Reason.DISALLOWED
        assert skipped.detail.endswith("a catalog behind a URL has no folder; name one with --images-root")
        assert isinstance(ImageResolver(cache, None, ImageRoots([tmp_path]))(product(image=image)), UnreadFile)


def test_a_refresh_takes_a_changed_image_and_keeps_it_if_a_later_one_fails(
    online, cache, downloader, server, jpeg, other_jpeg
):
    url = server.serve("/a", Answer(jpeg), Answer(other_jpeg), Answer(status=404))
    refresh = ImageResolver(cache, downloader, ImageRoots([cache.folder]), RefetchPolicy(older_than_s=0))
    first, second, third = online(product(url)), refresh(product(url)), refresh(product(url))
    assert first.sha256 != second.sha256 == third.sha256
    assert cache.get("P1").failure == "not found"
    assert online(product(url)) == third


def test_a_refresh_compares_images_put_there_by_hand_with_their_urls(cache, downloader, server, jpeg, other_jpeg):
    same, different, missing = (server.serve(f"/{name}", *answers) for name, answers in (
        ("a", [Answer(jpeg)]), ("b", [Answer(other_jpeg)]), ("c", [Answer(status=404)]),
    ))  # fmt: skip
    products = [product(same, "P1"), product(different, "P2"), product(missing, "P3")]
    for record in products:
        drop(cache, f"{record.product_id}.jpg", jpeg)
    adopt = ImageResolver(cache, downloader, ImageRoots([cache.folder]))
    refresh = ImageResolver(cache, downloader, ImageRoots([cache.folder]), RefetchPolicy(older_than_s=0))
    found = [adopt(record) for record in products]
    assert {image.sha256 for image in found} == {hashlib.sha256(jpeg).digest()}
    assert server.requests == []
    after = [refresh(record) for record in products]
    assert after[0] == found[0]
    assert after[1].sha256 == hashlib.sha256(other_jpeg).digest()
    assert after[2] == found[2]
    assert [cache.get(record.product_id).is_adopted for record in products] == [False, False, True]
    assert (cache.folder / "P2.jpg.replaced").read_bytes() == jpeg


def test_a_new_signature_is_tried_after_a_permanent_failure_also_if_the_path_is_the_key(
    tmp_path, downloader, server, jpeg
):
    url = server.serve("/a", Answer(status=403), Answer(jpeg))
    with ImageCache(tmp_path / "cache", url_key=UrlKey.PATH) as cache:
        resolve = ImageResolver(cache, downloader, ImageRoots([tmp_path]))
        assert resolve(product(url + "?sig=1")).reason == Reason.HTTP_4XX
        assert resolve(product(url + "?sig=1")).reason == Reason.HTTP_4XX
        assert server.asked("/a") == 1
        assert isinstance(resolve(product(url + "?sig=2")), ImageFile)
        assert isinstance(resolve(product(url + "?sig=3")), ImageFile)
    assert server.asked("/a") == 2


def test_an_image_that_cannot_be_decoded_is_fetched_again_if_that_may_help(online, cache, server, jpeg):
    url = server.serve("/a", Answer(jpeg[:900]), Answer(jpeg))
    image_file = online(product(url))
    cache.reject("P1", image_file.sha256, Reason.TRUNCATED, "cut off")
    assert not image_file.path.exists()
    assert online(product(url)).sha256 == hashlib.sha256(jpeg).digest()
    cache.reject("P1", hashlib.sha256(jpeg).digest(), Reason.NOT_AN_IMAGE, "damaged")
    skipped = online(product(url))
    assert (skipped.reason, "--retry-failed" in skipped.detail) == (Reason.NOT_AN_IMAGE, True)
    assert server.asked("/a") == 2


def test_a_users_image_is_never_removed(offline, cache, jpeg):
    drop(cache, "P1.jpg", jpeg)
    image_file = offline(product("https://shop.example/a.jpg"))
    cache.reject("P1", image_file.sha256, Reason.NOT_AN_IMAGE, "damaged")
    assert image_file.path.exists()


def test_the_index_keeps_no_secret_of_a_url(online, cache, server, jpeg):
    url = server.serve("/a.jpg?sig=s3cret", Answer(jpeg)).replace("//", "//me:s3cret@")
    assert isinstance(online(product(url)), ImageFile)
    online(product(url.replace("a.jpg", "none.jpg")))
    cache.flush()
    assert "s3cret" not in repr(cache.get("P1"))
