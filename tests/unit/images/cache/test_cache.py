"""The image cache: its order of writing, what it adopts, and what it does not trust."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from support.image_files import drop
from support.reading import record_local

from ingest.core.errors import StorageError
from ingest.core.records import Reason
from ingest.images.cache import files
from ingest.images.cache import index as index_module
from ingest.images.cache.cache import ImageCache, NotAFileError
from ingest.images.http.downloader import Download
from ingest.images.urls import UrlKey

URL = "https://shop.example/a.jpg"


def put(cache, product_id, content, source=URL, kind="jpg"):
    """Store `content` as a download would."""
    temporary = cache.temporary_path()
    temporary.write_bytes(content)
    download = Download(hashlib.sha256(content).digest(), len(content), kind, '"1"', None)
    return cache.store(product_id, source, temporary, download)


def rows(folder):
    """Read as another program would: committed rows only."""
    with sqlite3.connect(folder / "index.sqlite") as db:
        found = db.execute("SELECT product_id, file, tries, failure FROM picture ORDER BY product_id").fetchall()
    db.close()
    return found


@pytest.fixture
def hashed(monkeypatch):
    """Every path that is hashed from now on."""
    seen = []
    real = files.hash_file
    monkeypatch.setattr(files, "hash_file", lambda path: seen.append(path) or real(path))
    return seen


def test_a_stored_image_is_found_in_the_next_run(tmp_path, jpeg, hashed):
    with ImageCache(tmp_path) as cache:
        put(cache, "P0017", jpeg)
    with ImageCache(tmp_path) as cache:
        entry = cache.find("P0017", URL)
    assert cache.path(entry) == tmp_path / "P0017.jpg"
    assert (tmp_path / "P0017.jpg").read_bytes() == jpeg
    assert entry.sha256 == hashlib.sha256(jpeg).digest()
    assert (entry.etag, entry.tries, entry.failure) == ('"1"', 1, None)
    assert hashed == []


def forget_rows(folder):
    """Leave the folder as a kill between a rename and the commit of its row does."""
    with sqlite3.connect(folder / "index.sqlite") as db:
        db.execute("DELETE FROM picture")
    db.close()


def delete_index(folder):
    for path in folder.glob("index.sqlite*"):
        path.unlink()


LOSSES = pytest.mark.parametrize("lose", [forget_rows, delete_index])


@LOSSES
def test_a_download_without_a_row_is_used_for_the_url_that_it_is_from(tmp_path, jpeg, lose):
    with ImageCache(tmp_path) as cache:
        put(cache, "P1", jpeg)
    lose(tmp_path)
    with ImageCache(tmp_path) as cache:
        assert cache.find("P1", URL).sha256 == hashlib.sha256(jpeg).digest()
    assert rows(tmp_path) == [("P1", "P1.jpg", 1, None)]


@LOSSES
@pytest.mark.parametrize("url", [URL + "?v=2", "https://shop.example/b.jpg"])
def test_a_download_without_a_row_is_never_used_for_another_url(tmp_path, jpeg, lose, url):
    with ImageCache(tmp_path) as cache:
        put(cache, "P1", jpeg)
    lose(tmp_path)
    for _ in range(2):
        with ImageCache(tmp_path) as cache:
            assert cache.find("P1", url) is None
    assert rows(tmp_path) == []


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_row_that_lags_behind_its_file_is_not_believed(tmp_path, jpeg, other_jpeg, kind, monkeypatch):
    with ImageCache(tmp_path) as cache:
        put(cache, "P1", jpeg)
    with ImageCache(tmp_path) as cache:
        monkeypatch.setattr(cache.index, "put", lambda entry: None)  # as if killed before the commit
        put(cache, "P1", other_jpeg, source=URL + "?v=2", kind=kind)
    with ImageCache(tmp_path) as cache:
        assert cache.find("P1", URL) is None
        assert cache.find("P1", URL + "?v=3") is None
        assert cache.find("P1", URL + "?v=2").sha256 == hashlib.sha256(other_jpeg).digest()
        assert cache.get("P1").tries == 1


def test_an_image_by_hand_is_not_taken_for_a_download(tmp_path, jpeg, other_jpeg):
    with ImageCache(tmp_path) as cache:
        put(cache, "P1", jpeg)
    delete_index(tmp_path)
    (tmp_path / "P1.jpg").write_bytes(other_jpeg)
    with ImageCache(tmp_path) as cache:
        assert cache.find("P1", URL + "?v=2").sha256 == hashlib.sha256(other_jpeg).digest()
    assert rows(tmp_path) == [("P1", "P1.jpg", 0, None)]


def test_a_download_copied_to_another_products_name_is_one_by_hand(tmp_path, jpeg):
    with ImageCache(tmp_path) as cache:
        put(cache, "P1", jpeg)
    (tmp_path / "P2.jpg").write_bytes(jpeg)
    with ImageCache(tmp_path) as cache:
        assert cache.find("P2", "https://shop.example/2.jpg").tries == 0


def test_an_image_by_hand_makes_room_for_another_urls_and_is_kept(tmp_path, jpeg, other_jpeg):
    (tmp_path / "P1.png").write_bytes(jpeg)
    with ImageCache(tmp_path) as cache:
        assert cache.find("P1", URL).file == "P1.png"
        assert cache.find("P1", URL + "?v=2") is None
        put(cache, "P1", other_jpeg, source=URL + "?v=2")
        assert cache.notes() == [
            "1 image put into the cache by hand gave way to the image at the URL, and stays beside it as NAME.replaced"
        ]
    assert (tmp_path / "P1.png.replaced").read_bytes() == jpeg
    assert not (tmp_path / "P1.png").exists()
    delete_index(tmp_path)
    with ImageCache(tmp_path) as cache:
        assert cache.find("P1", URL) is None


def test_an_image_by_hand_that_the_url_serves_too_needs_no_copy(cache, jpeg):
    drop(cache, "P1.jpg", jpeg)
    assert cache.find("P1", URL).is_adopted
    put(cache, "P1", jpeg)
    assert not cache.get("P1").is_adopted
    assert [path.name for path in cache.folder.glob("P1*")] == ["P1.jpg"]
    assert cache.notes() == []


def test_an_image_by_hand_whose_url_failed_since_is_set_aside_not_deleted(tmp_path, jpeg):
    (tmp_path / "P1.jpg").write_bytes(jpeg)
    with ImageCache(tmp_path) as cache:
        cache.find("P1", URL)
        cache.fail("P1", URL + "2", Reason.HTTP_5XX, "503")
    with ImageCache(tmp_path) as cache:
        assert cache.find("P1", URL + "2") is None
    assert (tmp_path / "P1.jpg.replaced").read_bytes() == jpeg


def test_a_cache_of_an_earlier_version_is_recorded_once_and_survives_the_loss_of_its_index(tmp_path, jpeg):
    with ImageCache(tmp_path) as cache:
        put(cache, "P1", jpeg)
        drop(cache, "P2.jpg", jpeg)
        cache.find("P2", URL)
    for path in tmp_path.glob("sources*"):
        path.unlink()
    ImageCache(tmp_path).close()
    assert (tmp_path / "sources.bin").stat().st_size == 48
    delete_index(tmp_path)
    with ImageCache(tmp_path) as cache:
        assert cache.find("P1", URL + "2") is None
        assert (cache.find("P1", URL).tries, cache.find("P2", URL).tries) == (1, 0)


def test_a_command_that_changes_nothing_reads_the_record_and_writes_none(tmp_path, jpeg):
    with ImageCache(tmp_path) as cache:
        put(cache, "P1", jpeg)
    delete_index(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with ImageCache(tmp_path, changes=False) as cache:
        assert cache.find("P1", URL).tries == 1
        assert cache.find("P1", URL + "2") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["shoe.jpg", "shoe~f.jpeg", "shoe.JPG", "shoe.png"])
def test_a_users_file_is_adopted_under_either_name(cache, jpeg, name):
    drop(cache, name, jpeg)
    assert cache.find("shoe", URL).file == name
    assert cache.find("SHOE", URL) is None


def test_an_adopted_file_gets_a_unique_name_if_case_is_ignored(cache, jpeg):
    cache._files._ignores_case = True
    drop(cache, "shoe.jpg", jpeg)
    assert cache.find("SHOE", URL) is None
    assert cache.find("shoe", URL).file == "shoe~f.jpg"
    assert (cache.folder / "shoe~f.jpg").read_bytes() == jpeg


def test_a_users_file_that_is_not_an_image_is_not_adopted(cache):
    (cache.folder / "P1.jpg").write_text("<html>not found</html>")
    assert cache.find("P1", URL) is None


def test_a_users_file_may_be_replaced(cache, jpeg, other_jpeg):
    drop(cache, "P1.jpg", jpeg)
    cache.find("P1", URL)
    drop(cache, "P1.jpg", other_jpeg)
    assert cache.find("P1", URL).sha256 == hashlib.sha256(other_jpeg).digest()


def test_a_row_whose_file_is_missing_or_changed_is_not_trusted(cache, jpeg):
    entry = put(cache, "P1", jpeg)
    cache.path(entry).write_bytes(jpeg[:-1])
    assert cache.find("P1", URL) is None
    cache.path(entry).write_bytes(jpeg[:-2] + b"xx")
    os.utime(cache.path(entry), ns=(1, 1))
    assert cache.find("P1", URL) is None
    cache.path(entry).unlink()
    assert cache.find("P1", URL) is None


def test_a_file_that_was_only_touched_is_trusted_after_one_hash(cache, jpeg, hashed):
    entry = put(cache, "P1", jpeg)
    os.utime(cache.path(entry), ns=(1, 1))
    assert cache.find("P1", URL).sha256 == entry.sha256
    assert cache.find("P1", URL).tries == 1
    assert len(hashed) == 1


def test_an_image_of_another_url_is_not_used(cache, jpeg):
    put(cache, "P1", jpeg)
    assert cache.find("P1", URL + "?v=2") is None
    assert cache.find("P1", URL) is not None


def test_an_image_of_a_new_type_replaces_the_old_file(cache, jpeg):
    put(cache, "P1", jpeg)
    put(cache, "P1", jpeg, source=URL + "2", kind="png")
    assert [path.name for path in cache.folder.glob("P1.*")] == ["P1.png"]


def test_a_failure_is_recorded_and_counted(tmp_path):
    with ImageCache(tmp_path) as cache:
        cache.fail("P1", URL, Reason.NOT_FOUND, "404")
        cache.fail("P1", URL, Reason.NOT_FOUND, "404")
        assert cache.find("P1", URL) is None
    assert rows(tmp_path) == [("P1", None, 2, "not found")]


def test_an_old_urls_image_is_not_adopted_for_a_new_url_that_failed(tmp_path, jpeg):
    with ImageCache(tmp_path) as cache:
        put(cache, "P1", jpeg)
        cache.fail("P1", URL + "2", Reason.HTTP_5XX, "503")
        assert cache.find("P1", URL + "2") is None
    with ImageCache(tmp_path) as cache:  # opened again, so that files without a row are looked for
        assert cache.find("P1", URL + "2") is None
    assert not (tmp_path / "P1.jpg").exists()
    assert rows(tmp_path) == [("P1", None, 1, "http 5xx")]


def test_by_path_an_image_of_another_query_is_used_and_by_all_of_the_url_is_not(tmp_path, jpeg):
    with ImageCache(tmp_path, url_key=UrlKey.PATH) as cache:
        put(cache, "P1", jpeg, source=URL + "?v=1")
        assert cache.find("P1", URL + "?v=2").tries == 1
        assert cache.find("P1", "https://shop.example/b.jpg?v=1") is None
    with ImageCache(tmp_path) as cache:  # the flag may change at any time: the row still says which URL it was
        assert cache.find("P1", URL + "?v=2") is None
        assert cache.find("P1", URL + "?v=1").tries == 1
    delete_index(tmp_path)
    with ImageCache(tmp_path, url_key=UrlKey.PATH) as cache:
        assert cache.find("P1", URL + "?v=3").tries == 1
    with ImageCache(tmp_path) as cache:
        assert cache.find("P1", URL + "?v=3") is None
        assert cache.find("P1", URL + "?v=1").tries == 1


@pytest.mark.parametrize(
    ("changed", "same", "said"), [(2, 2, True), (3, 2, True), (3, 1, False), (1, 1, False), (0, 0, False)]
)
def test_a_run_that_downloads_the_same_images_under_other_queries_says_so(cache, jpeg, other_jpeg, changed, same, said):
    for number in range(3):
        put(cache, f"P{number}", jpeg, source=f"{URL}?v=1")
    for number in range(changed):
        put(cache, f"P{number}", jpeg if number < same else other_jpeg, source=f"{URL}?v=2")
    expected = (
        f"{changed} of 3 image URLs changed only after the path, and {same} of those images did not change; "
        "to download such images once, pass --url-key path"
    )
    assert cache.notes() == [expected] * said


def test_other_paths_and_refreshes_are_no_reason_to_advise_another_key(cache, jpeg):
    put(cache, "P1", jpeg)
    put(cache, "P1", jpeg)
    put(cache, "P1", jpeg, source="https://cdn.example/a.jpg")
    assert cache.notes() == []


def test_leftover_temporary_files_are_removed_and_others_kept(tmp_path, jpeg):
    with ImageCache(tmp_path) as cache:
        left = cache.temporary_path()
        left.write_bytes(jpeg[:99])
    kept = [tmp_path / name for name in (".hidden.part", "P1.part", ".DS_Store")]
    for path in kept:
        path.write_bytes(b"")
    ImageCache(tmp_path).close()
    assert not left.exists()
    assert all(path.exists() for path in kept)


def test_an_unchanged_local_image_is_read_once(tmp_path, jpeg):
    path = tmp_path / "shoe.jpg"
    path.write_bytes(jpeg)
    with ImageCache(tmp_path / "cache") as cache:
        assert cache.find_local([("P1", path)]) == [None]
        record_local(cache, "P1", path)
    with ImageCache(tmp_path / "cache") as cache:
        (entry,) = cache.find_local([("P1", path)])
    assert cache.path(entry) == path
    assert entry.sha256 == hashlib.sha256(jpeg).digest()
    assert [name.name for name in (tmp_path / "cache").iterdir()] == ["index.sqlite"]


def test_a_change_of_mtime_or_size_alone_is_noticed(cache, tmp_path, jpeg):
    path = tmp_path / "shoe.jpg"
    path.write_bytes(jpeg)
    os.utime(path, ns=(10**18, 10**18))
    first = record_local(cache, "P1", path).sha256
    path.write_bytes(jpeg[::-1])
    os.utime(path, ns=(10**18, 10**18 + 1))
    second = record_local(cache, "P1", path).sha256
    path.write_bytes(jpeg + b"x")
    os.utime(path, ns=(10**18, 10**18 + 1))
    assert len({first, second, record_local(cache, "P1", path).sha256}) == 3


def test_a_local_path_that_is_not_a_file_is_an_error_of_its_own(cache, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(NotAFileError):
            record_local(cache, "P1", path)


def test_rows_are_visible_at_once_and_committed_by_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "BATCH_S", 1e9)
    with ImageCache(tmp_path) as cache:
        for number in range(300):
            cache.fail(f"P{number}", URL, Reason.NOT_FOUND, "404")
        assert cache.get("P299") is not None
        assert len(rows(tmp_path)) == 256
        cache.flush()
        assert len(rows(tmp_path)) == 300


def test_a_batch_also_ends_by_time(tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "BATCH_S", 0.0)
    with ImageCache(tmp_path) as cache:
        cache.fail("P1", URL, Reason.NOT_FOUND, "404")
        assert len(rows(tmp_path)) == 1


def test_many_threads_share_the_cache(tmp_path, jpeg):
    def work(first):
        for number in range(first, 400, 16):
            put(cache, f"P{number}", jpeg)
            assert cache.find(f"P{number}", URL) is not None

    with ImageCache(tmp_path) as cache:
        threads = [threading.Thread(target=work, args=(first,)) for first in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(rows(tmp_path)) == 400


def test_a_run_that_fails_still_commits(tmp_path):
    cache = ImageCache(tmp_path)
    cache.fail("P1", URL, Reason.NOT_FOUND, "404")
    with pytest.raises(ZeroDivisionError), cache:
        _ = 1 / 0
    assert len(rows(tmp_path)) == 1
    cache.close()


@pytest.mark.parametrize("product_id", ["../../etc/passwd", "a/b\\c", "nul", "é\u202e😀", "a\0b", ".", "x" * 999])
def test_an_odd_id_stays_in_the_folder_and_is_found_again(tmp_path, jpeg, product_id):
    with ImageCache(tmp_path) as cache:
        put(cache, product_id, jpeg)
    with ImageCache(tmp_path) as cache:
        path = cache.path(cache.find(product_id, URL))
    assert path.parent == tmp_path
    assert path.read_bytes() == jpeg


def test_a_broken_index_is_one_line_with_a_fix(tmp_path):
    (tmp_path / "index.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StorageError, match=r"index\.sqlite: .*delete this file") as caught:
        ImageCache(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_index_of_a_newer_layout_is_left_alone(tmp_path):
    ImageCache(tmp_path).close()
    with sqlite3.connect(tmp_path / "index.sqlite") as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(StorageError, match="newer ingest"):
        ImageCache(tmp_path)


def test_a_full_disk_is_a_storage_error(tmp_path):
    with ImageCache(tmp_path) as cache:
        cache._index._db.execute("PRAGMA max_page_count = 8")
        with pytest.raises(StorageError, match="full; free some disk space"):
            cache.fail("P1", URL, Reason.NOT_FOUND, "x" * 100_000)


def test_a_folder_that_cannot_be_created_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        ImageCache(tmp_path / "file" / "cache")


def test_a_rename_onto_a_full_disk_is_a_storage_error(cache, jpeg, monkeypatch):
    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        put(cache, "P1", jpeg)
