"""One run at a time on one data folder, by real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ingest.core.errors import BusyError, StorageError
from ingest.runtime.lock import lock_folder, lock_folder_shared

HOLDER = """
import sys, time
from pathlib import Path
from ingest.runtime.lock import lock_folder, lock_folder_shared
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_told_which_one_holds_the_folder(tmp_path, other):
    with pytest.raises(BusyError) as caught, lock_folder(tmp_path):
        pytest.fail("it is held")
    assert str(caught.value) == (
        f"{tmp_path}: another run (process {other.pid}) holds it; wait for it, or pass another --data"
    )


def test_another_folder_is_free(tmp_path, other):
    with lock_folder(tmp_path / "another"):
        pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_folder_of_a_killed_process_is_free(tmp_path, other, number):
    other.send_signal(number)
    other.wait()
    with lock_folder(tmp_path):
        assert (tmp_path / ".lock.pid").read_text() == f"{os.getpid()}\n"


def test_the_folder_is_free_after_the_block_and_after_an_error_in_it(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError, match="mine"), lock_folder(tmp_path / "data"):
            raise RuntimeError("mine")


def test_a_holder_that_could_not_write_its_number_is_unknown(tmp_path, other):
    for torn in ("", None):
        if torn is None:
            (tmp_path / ".lock.pid").unlink()
        else:
            (tmp_path / ".lock.pid").write_text(torn)
        with pytest.raises(BusyError, match=r"process unknown"), lock_folder(tmp_path):
            pytest.fail("it is held")


def test_who_reads_keeps_runs_off_and_writes_nothing(tmp_path):
    with lock_folder(tmp_path):
        pass
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with lock_folder_shared(tmp_path):
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        with pytest.raises(BusyError, match="a command that reads it, such as ingest serve"), lock_folder(tmp_path):
            pytest.fail("it is read")
        with lock_folder_shared(tmp_path):
            pass
        with pytest.raises(BusyError, match="a command that reads it"), lock_folder(tmp_path):
            pytest.fail("the first reader still reads it")
    with lock_folder(tmp_path):
        pass


def test_who_reads_is_told_which_process_holds_the_folder(tmp_path, other):
    with pytest.raises(BusyError, match=rf"process {other.pid}\)"), lock_folder_shared(tmp_path):
        pytest.fail("it is held")


def test_who_reads_where_no_run_has_been_makes_no_folder(tmp_path):
    with lock_folder_shared(tmp_path / "data"):
        pass
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written") as caught, lock_folder(tmp_path / "file"):
        pytest.fail("it is a file")
    assert len(str(caught.value).splitlines()) == 1
