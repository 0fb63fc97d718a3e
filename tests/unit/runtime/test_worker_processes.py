"""Worker processes: lent to threads, data only, and an end whatever happens to either side."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from ingest.core.errors import EngineError
from ingest.runtime.worker_processes import WorkerDiedError, WorkerProcesses

ECHO = """
import os, time
from ingest.runtime.worker_processes import serve

def handle(message, parent):
    if message == "two":
        parent.answer(next(iter(parent)))
    elif message == "bytes":
        parent.shared[:12] = bytes(range(12))
        parent.answer(12)
    elif message == "pid":
        parent.answer(os.getpid())
    elif message == "bug":
        1 // 0
    elif message == "half":
        parent._answers.write(b'"cut')
        parent._answers.flush()
        os._exit(3)
    elif message == "sleep":
        parent.step()
        time.sleep(99)
    elif message == "steps":
        for _ in range(6):
            time.sleep(0.2)
            parent.step()
        parent.answer("done")
    else:
        parent.answer(message)

serve(handle)
"""


@pytest.fixture
def processes():
    with WorkerProcesses("", 2, timeout_s=20, command=[sys.executable, "-c", ECHO]) as processes:
        yield processes


def asked(processes, message):
    with processes.lend() as worker:
        worker.send(message)
        return worker.receive()


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def test_messages_and_bytes_come_back(processes):
    lone = "\udce9"  # of a file name that is not UTF-8
    assert asked(processes, {"name": lone, "numbers": [1, None, True]}) == {"name": lone, "numbers": [1, None, True]}
    with processes.lend() as worker:
        worker.send("two")
        worker.send("the second")
        assert worker.receive() == "the second"
        worker.send("bytes")
        assert worker.receive() == 12
        assert worker.shared[:12] == bytes(range(12))


def test_a_process_is_used_again_and_there_are_never_more_than_asked_for(processes):
    pid = asked(processes, "pid")
    with processes.lend(), processes.lend():
        third = threading.Thread(target=lambda: asked(processes, "pid"))
        third.start()
        third.join(0.3)
        assert third.is_alive(), "it waits for one of the two"
    third.join()
    with processes.lend() as one, processes.lend() as other:
        pids = []
        for worker in (one, other):
            worker.send("pid")
            pids.append(worker.receive())
    assert pid in pids
    assert pids[0] != pids[1]


def test_a_process_whose_borrower_raised_is_not_lent_again(processes):
    pid = asked(processes, "pid")
    with pytest.raises(KeyError), processes.lend() as worker:
        worker.send("pid")
        raise KeyError
    assert not is_running(pid)
    assert asked(processes, "hello") == "hello"


def test_a_process_that_dies_or_hangs_is_replaced(processes):
    pids = {asked(processes, "pid")}
    os.kill(next(iter(pids)), signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        asked(processes, "anyone?")
    pids.add(asked(processes, "pid"))
    with pytest.raises(WorkerDiedError):
        asked(processes, "half")
    pids.add(asked(processes, "pid"))
    with pytest.raises(WorkerDiedError), processes.lend() as worker:
        worker._socket.settimeout(0.2)
        worker.send("sleep")
        worker.receive()
    pids.add(asked(processes, "pid"))
    assert len(pids) == 4


def test_steps_show_that_a_process_does_not_hang(processes):
    with processes.lend() as worker:
        worker._socket.settimeout(0.5)
        worker.send("steps")
        assert worker.receive() == "done"
        assert worker.steps == 6
        worker.send("sleep")
        with pytest.raises(WorkerDiedError):
            worker.receive()
    assert worker.steps == 1, "of the last task, and known after the death"


def test_a_signal_that_stops_the_parent_does_not_end_its_processes_first(processes):
    pid = asked(processes, "pid")
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert asked(processes, "pid") == pid


def test_a_bug_in_the_program_is_raised_here_with_its_traceback(processes):
    with pytest.raises(RuntimeError, match=r"in handle[^$]*ZeroDivisionError"):
        asked(processes, "bug")
    assert asked(processes, "again") == "again"


def test_all_end_with_the_block(processes):
    with WorkerProcesses("", 1, command=[sys.executable, "-c", ECHO]) as others:
        pid = asked(others, "pid")
        assert is_running(pid)
    assert not is_running(pid)


@pytest.mark.parametrize("program", ["raise SystemExit(4)", "print('ready')"])
def test_a_program_that_cannot_start_is_one_line(program):
    with WorkerProcesses("", 1, command=[sys.executable, "-c", program]) as broken, pytest.raises(EngineError) as error:
        asked(broken, "pid")
    assert str(error.value).startswith("the program that decodes images cannot start (exit status ")
    assert "\n" not in str(error.value)


def test_a_busy_process_ends_when_its_parent_is_killed(tmp_path):
    parent = os.fork()
    if not parent:  # killed before it can end its process
        with WorkerProcesses("", 1, command=[sys.executable, "-c", ECHO]).lend() as worker:
            worker.send("pid")
            (tmp_path / "pid.tmp").write_text(str(worker.receive()), encoding="utf-8")
            (tmp_path / "pid.tmp").rename(tmp_path / "pid")
            worker.send("sleep")
            time.sleep(99)
    noted = tmp_path / "pid"
    wait_until(noted.exists)
    pid = int(noted.read_text(encoding="utf-8"))
    time.sleep(0.1)
    assert is_running(pid)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    wait_until(lambda: not is_running(pid))
