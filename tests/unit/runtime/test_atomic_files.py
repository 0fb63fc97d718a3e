"""Files that appear whole or not at all, on disks that are full or may not be written."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.synced import noting_fsync

from ingest.core.errors import StorageError
from ingest.exports.manifest import ChecksumWriter
from ingest.runtime.atomic_files import atomic_write, storage_errors
from ingest.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """Mount a disk of 64 KB, which needs root."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a small disk takes Linux and root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def locked(tmp_path) -> Iterator[Path]:
    """Return a folder that cannot be written; root writes where others may not, so for it the disk is mounted so."""
    folder = tmp_path / "locked"
    folder.mkdir()
    if os.name == "nt":
        pytest.skip("Windows has no such folders")
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if not mount or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("root may write everywhere, and nothing can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def one_line(error: StorageError) -> str:
    message = str(error)
    assert len(message.splitlines()) == 1
    assert message.endswith("; make room or set --data")
    return message


def test_a_file_appears_whole_when_the_block_ends(tmp_path):
    path = tmp_path / "deep" / "file"
    with atomic_write(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_file_and_its_name_are_fsynced(tmp_path):
    path = tmp_path / "file"
    with noting_fsync() as synced, atomic_write(path) as file:
        file.write(b"new")
    assert synced == {path.stat().st_ino: 3, tmp_path.stat().st_ino: tmp_path.stat().st_size}


def test_a_block_that_fails_leaves_what_was_there_and_no_trace(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="mine"), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError("mine")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_beside_goes_after_an_hour(tmp_path):
    old, fresh, another = (tmp_path / name for name in (".file.1.tmp", ".file.2.tmp", ".other.3.tmp"))
    for left in (old, fresh, another):
        left.write_bytes(b"half")
    for left in (old, another):
        os.utime(left, (0, 0))
    with atomic_write(tmp_path / "file") as file:
        file.write(b"new")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".file.2.tmp", ".other.3.tmp", "file"]


def test_a_full_disk_is_one_line_and_the_file_that_was_there_stays(small_disk):
    path = small_disk / "file"
    path.write_bytes(b"old")
    with pytest.raises(StorageError) as caught, atomic_write(path) as file:
        file.write(bytes(200_000))
    assert one_line(caught.value).startswith(f"{path}: cannot be written (No space left on device)")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in small_disk.iterdir()] == ["file"]


def test_a_store_on_a_full_disk_says_so_and_keeps_what_it_had(small_disk):
    store = LocalStore(small_disk / "store", 8)
    vectors = np.full((1, 8), 8**-0.5, np.float32)
    store.add([bytes(32)], vectors)
    with pytest.raises(StorageError) as caught:
        store.add([number.to_bytes(32) for number in range(1, 1001)], np.repeat(vectors, 1000, axis=0))
    assert "No space left on device" in one_line(caught.value)
    assert [entry.name for entry in store.folder.iterdir()] == ["00000001"]
    again = LocalStore(small_disk / "store", 8)
    assert again.holds([bytes(32), (1).to_bytes(32)]) == [True, False]
    again.add([(1).to_bytes(32)], vectors)


def test_a_folder_that_may_not_be_written_is_one_line(locked):
    with pytest.raises(StorageError) as caught, atomic_write(locked / "file"):
        pytest.fail("the block must not begin")
    assert one_line(caught.value).startswith(f"{locked / 'file'}: cannot be written (")
    with pytest.raises(StorageError):
        LocalStore(locked / "store", 8).add([bytes(32)], np.full((1, 8), 8**-0.5, np.float32))


def test_a_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught, atomic_write(tmp_path / "file" / "below"):
        pytest.fail("the block must not begin")
    one_line(caught.value)


def test_each_of_two_open_files_is_named_by_its_own_name(tmp_path):
    full = StorageError(f"{tmp_path / 'a'}: cannot be written (No space left on device); make room or set --data")

    class Full:
        def write(self, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError) as caught, atomic_write(tmp_path / "a"), atomic_write(tmp_path / "b"):
        ChecksumWriter(Full(), tmp_path / "a").write(b"x")
    assert str(caught.value) == str(full)


def test_an_error_without_words_of_its_own_is_told_all_the_same(tmp_path):
    with pytest.raises(StorageError, match="odd"), storage_errors(tmp_path):
        raise OSError("odd")
