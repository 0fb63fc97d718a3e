"""Where downloaded files are from: a record of each process, whole or not at all."""

from __future__ import annotations

import hashlib
import os

import pytest
from support.synced import noting_fsync

from ingest.images.cache.sources import Sources

KEY, SHA256 = bytes(range(32)), hashlib.sha256(b"an image").digest()


def only_file(folder):
    (path,) = folder.glob("sources*.bin")
    return path


def test_a_record_of_a_process_that_has_ended_is_found_by_name_and_bytes(tmp_path):
    sources = Sources(tmp_path)
    sources.add("P1.jpg", SHA256, KEY)
    sources.close()
    found = Sources(tmp_path)
    assert found.find("P1.jpg", SHA256) == KEY
    assert found.find("P2.jpg", SHA256) is None
    assert found.find("P1.jpg", KEY) is None


def test_closing_fsyncs_all_that_was_added_and_holds_nothing_open(tmp_path):
    sources = Sources(tmp_path)
    sources.add("P1.jpg", SHA256, KEY)
    sources.add("P2.jpg", SHA256, KEY)
    descriptor = sources._file
    with noting_fsync() as synced:
        sources.close()
    assert synced == {only_file(tmp_path).stat().st_ino: 96}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    sources.close()


def test_its_file_may_be_read_and_written_like_any_other(tmp_path):
    Sources(tmp_path).add("P1.jpg", SHA256, KEY)
    (tmp_path / "any").write_bytes(b"")
    assert only_file(tmp_path).stat().st_mode == (tmp_path / "any").stat().st_mode


def test_a_record_that_was_cut_off_is_none_and_the_next_one_is_whole(tmp_path):
    first = Sources(tmp_path)
    first.add("P1.jpg", SHA256, KEY)
    first.close()
    with only_file(tmp_path).open("ab") as file:
        file.write(b"cut off by a full disk")
    assert Sources(tmp_path).find("P1.jpg", SHA256) == KEY
    second = Sources(tmp_path)
    second.add("P2.jpg", SHA256, KEY)
    second.close()
    assert only_file(tmp_path).stat().st_size == 96
    assert Sources(tmp_path).find("P2.jpg", SHA256) == KEY
