"""Products that share an address share the download, and each keeps a file of its own name."""

from __future__ import annotations

import errno
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.http_server import Answer
from support.image_files import drop

from ingest.core.records import ImageFile, Product, Reason
from ingest.images.cache import statistics
from ingest.images.cache.cache import ImageCache
from ingest.images.resolver import ImageResolver, RefetchPolicy
from ingest.images.roots import ImageRoots
from ingest.images.urls import UrlKey


def product(image, product_id):
    return Product(product_id, image, {}, 7)


def resolver(cache, downloader, **refetch):
    return ImageResolver(cache, downloader, ImageRoots([cache.folder]), RefetchPolicy(**refetch))


def everything(find, url, *product_ids):
    return [find(product(url, product_id)) for product_id in product_ids]


@pytest.fixture
def online(cache, downloader):
    return resolver(cache, downloader)


def test_many_products_at_once_make_one_request_and_have_one_file_under_their_names(cache, online, server, jpeg):
    url = server.serve("/a", Answer(jpeg))
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(online, [product(url, f"P{number}") for number in range(64)]))
    assert server.asked("/a") == 1
    assert [image.path.name for image in found] == [f"P{number}.jpg" for number in range(64)]
    assert {image.sha256 for image in found} == {hashlib.sha256(jpeg).digest()}
    assert {image.path.stat().st_ino for image in found} == {found[0].path.stat().st_ino}
    assert not list(cache.folder.glob(".*"))


def test_a_file_system_without_hard_links_gets_copies(cache, online, server, jpeg, monkeypatch):
    def refused(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    url = server.serve("/a", Answer(jpeg))
    found = everything(online, url, "P1", "P2")
    assert len({image.path.stat().st_ino for image in found}) == 2
    assert [image.path.read_bytes() for image in found] == [jpeg, jpeg]
    assert everything(online, url, "P1", "P2") == found
    assert server.asked("/a") == 1


def test_the_next_run_shares_what_an_earlier_one_has_downloaded(tmp_path, downloader, server, jpeg):
    url = server.serve("/a", Answer(jpeg))
    with ImageCache(tmp_path / "cache") as cache:
        everything(resolver(cache, downloader), url, "P1")
    with ImageCache(tmp_path / "cache") as cache:
        [found] = everything(resolver(cache, None), url, "P2")
        assert found.path.name == "P2.jpg"
    with ImageCache(tmp_path / "cache", changes=False) as cache:
        [found] = everything(resolver(cache, None), url, "P3")
        assert found.path.read_bytes() == jpeg
    assert not (tmp_path / "cache" / "P3.jpg").exists()
    assert server.asked("/a") == 1


def test_after_a_kill_that_lost_the_index_nothing_is_fetched_again(tmp_path, downloader, server, jpeg):
    url = server.serve("/a", Answer(jpeg))
    with ImageCache(tmp_path / "cache") as cache:
        everything(resolver(cache, downloader), url, "P1", "P2")
    for path in (tmp_path / "cache").glob("index*"):
        path.unlink()
    with ImageCache(tmp_path / "cache") as cache:
        found = everything(resolver(cache, downloader), url, "P1", "P2", "P3")
        assert [image.path.name for image in found] == ["P1.jpg", "P2.jpg", "P3.jpg"]
    assert server.asked("/a") == 1


def test_one_conditional_request_refreshes_all(tmp_path, downloader, server, jpeg, other_jpeg):
    url = server.serve("/a", Answer(jpeg, headers={"ETag": '"1"'}), Answer(status=304), Answer(other_jpeg))
    with ImageCache(tmp_path / "cache") as cache:
        before = everything(resolver(cache, downloader), url, "P1", "P2", "P3")
        last = cache.get("P1").fetched_at
        night = resolver(cache, downloader, older_than_s=0, began=last + 1e-6)
        assert everything(night, url, "P1", "P2", "P3") == before
        assert server.asked("/a") == 2
        assert server.requests[1][1]["If-None-Match"] == '"1"'
        assert all(cache.get(one).fetched_at > last for one in ("P1", "P2", "P3"))
        night = resolver(cache, downloader, older_than_s=0, began=cache.get("P3").fetched_at + 1e-6)
        after = everything(night, url, "P1", "P2", "P3")
        assert {image.sha256 for image in after} == {hashlib.sha256(other_jpeg).digest()}
        assert server.asked("/a") == 3


def test_a_replaced_file_leaves_that_of_the_other_product_as_it_was(cache, online, server, jpeg, other_jpeg):
    url, other = server.serve("/a", Answer(jpeg)), server.serve("/b", Answer(other_jpeg))
    everything(online, url, "P1", "P2")
    [moved] = everything(online, other, "P1")
    [kept] = everything(online, url, "P2")
    assert (moved.path.read_bytes(), kept.path.read_bytes()) == (other_jpeg, jpeg)
    cache.reject("P2", kept.sha256, Reason.NOT_AN_IMAGE, "damaged")
    assert moved.path.exists()


def test_a_file_that_somebody_writes_into_is_not_shared_and_heals(online, server, jpeg, other_jpeg):
    url = server.serve("/a", Answer(jpeg))
    first, _ = everything(online, url, "P1", "P2")
    first.path.write_bytes(other_jpeg + b" ")  # the same file has both names
    found = everything(online, url, "P3", "P1", "P2")
    assert [image.path.read_bytes() for image in found] == [jpeg] * 3
    assert server.asked("/a") == 2


def test_a_file_put_there_by_hand_is_for_its_own_product_alone(cache, online, server, jpeg, other_jpeg):
    url = server.serve("/a", Answer(jpeg))
    drop(cache, "P1.jpg", other_jpeg)
    by_hand, fetched = everything(online, url, "P1", "P2")
    assert by_hand.sha256 == hashlib.sha256(other_jpeg).digest()
    assert fetched.sha256 == hashlib.sha256(jpeg).digest()


@pytest.mark.parametrize(("status", "reason"), [(404, Reason.NOT_FOUND), (500, Reason.HTTP_5XX)])
def test_a_url_that_failed_is_asked_once_for_all_and_each_product_says_why(cache, online, server, status, reason):
    url = server.serve("/a", Answer(status=status))
    found = everything(online, url, "P1", "P2", "P3")
    assert [skipped.reason for skipped in found] == [reason] * 3
    assert len({skipped.detail for skipped in found}) == 1
    assert [cache.get(one).failure for one in ("P1", "P2", "P3")] == [reason] * 3
    assert server.asked("/a") == (1 if status == 404 else online._downloader.policy.tries)


def test_a_refresh_that_fails_asks_once_and_all_keep_their_images(cache, downloader, server, jpeg):
    url = server.serve("/a", Answer(jpeg), Answer(status=404))
    before = everything(resolver(cache, downloader), url, "P1", "P2")
    night = resolver(cache, downloader, older_than_s=0, began=cache.get("P2").fetched_at + 1e-6)
    assert everything(night, url, "P1", "P2") == before
    assert [cache.get(one).failure for one in ("P1", "P2")] == ["not found"] * 2
    assert server.asked("/a") == 2


def test_with_the_path_as_key_other_signatures_share_the_download(tmp_path, downloader, server, jpeg):
    url = server.serve("/a", Answer(jpeg))
    with ImageCache(tmp_path / "cache", url_key=UrlKey.PATH) as cache:
        find = resolver(cache, downloader)
        found = [find(product(f"{url}?sig={number}", f"P{number}")) for number in range(3)]
    assert all(isinstance(image, ImageFile) for image in found)
    assert server.asked("/a") == 1


def test_the_states_count_a_shared_file_once(cache, online, server, jpeg):
    everything(online, server.serve("/a", Answer(jpeg)), "P1", "P2")
    everything(online, server.serve("/b", Answer(jpeg)), "P3")
    [state] = statistics.states(cache.index)
    assert (state.pictures, state.bytes) == (3, 2 * len(jpeg))


def test_a_download_is_found_by_an_index_and_not_by_reading_all_rows(cache, online, server, jpeg):
    everything(online, server.serve("/a", Answer(jpeg)), "P1", "P2")
    statements = []
    cache.index._db.set_trace_callback(statements.append)
    everything(online, server.url("/a"), "P3")
    cache.index._db.set_trace_callback(None)
    [asked] = [text for text in statements if "ORDER BY fetched_at" in text]
    [plan] = cache.index.select(f"EXPLAIN QUERY PLAN {asked}")
    assert "USING INDEX download_by_full" in plan[3]
