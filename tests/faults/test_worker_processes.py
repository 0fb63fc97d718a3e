"""A run that decodes in processes: killed ones, killers and a killed parent lose nothing and leave nothing running."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image
from support.image_files import saved
from support.small_shop import SmallShop

from ingest.core.errors import EngineError
from ingest.images import stage
from ingest.images.decode.in_processes import PROGRAM, ProcessDecoder
from ingest.runtime.worker_processes import WorkerProcesses

KILLERS = 10
MANY = 1000
# As the real program, but a red image kills it.
MEDDLED = """
import os, signal
from ingest.images.decode import model_pixels, worker
from ingest.runtime.worker_processes import serve

content_of = model_pixels.content_of

def meddled(decoded, *others):
    if decoded.image.getpixel((0, 0)) == (255, 0, 0):
        os.kill(os.getpid(), signal.SIGSEGV)
    return content_of(decoded, *others)

model_pixels.content_of = meddled
serve(worker.handle)
"""


def children(pid="self"):
    """Return the processes that decode for a process."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread or the child ends meanwhile
            for child in path.read_text(encoding="utf-8").split():
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if PROGRAM.encode() in command or b"ingest.images.decode import" in command:
                    found.append(int(child))
    return found


@pytest.fixture
def shop(tmp_path):
    return SmallShop(tmp_path, str(tmp_path / "milvus.db"), decode_in="processes")


def products(count, title="a shoe"):
    return {f"P{number}": (number, title) for number in range(count)}


def test_the_rows_are_those_of_threads_and_nothing_runs_afterwards(tmp_path):
    rows = []
    for place in ("processes", "threads"):
        shop = SmallShop(tmp_path / place, str(tmp_path / place / "milvus.db"), decode_in=place)
        shop.stock({**products(30), "broken": (None, "no image")})
        found = shop.run()
        assert found.summary.upserted == 30
        rows.append((shop.rows(), found.summary.reasons, shop.embedded))
        assert not children()
        shop.redraw(3, 77)
        again = shop.run()
        assert (again.summary.upserted, again.summary.unchanged) == (1, 29)
        rows[-1] += (shop.rows(), shop.embedded)
    assert rows[0] == rows[1]


def test_a_run_with_nothing_to_do_starts_no_process(shop):
    shop.stock(products(5))
    shop.run()
    with mock.patch.object(WorkerProcesses, "lend", side_effect=AssertionError("not needed")):
        assert shop.run().summary.unchanged == 5
        shop.stock(products(5, title="renamed"))
        assert shop.run().summary.upserted == 5, "their vectors are in the store"


def test_a_fresh_machine_decodes_nothing_that_the_collection_has(shop):
    shop.stock(products(5))
    shop.run()
    (shop.folder / "data" / "image_cache" / "index.sqlite").unlink()
    decoded = []
    read = ProcessDecoder.read

    def counted(self, paths, wanted):
        results = read(self, paths, wanted)
        decoded.extend(result for result in results if result.outcome is not None)
        return results

    with mock.patch.object(ProcessDecoder, "read", counted):
        assert shop.run().summary.unchanged == 5
    assert decoded == []


def test_ten_killers_among_a_thousand_cost_themselves(tmp_path):
    shop = SmallShop(tmp_path, str(tmp_path / "milvus.db"), decode_in="processes")
    shop.stock(products(MANY))
    for number in range(0, MANY, MANY // KILLERS):
        (tmp_path / "images" / f"{number}.png").write_bytes(saved(Image.new("RGB", (8, 8), "red"), "PNG"))
    meddled = partial(WorkerProcesses, command=[sys.executable, "-c", MEDDLED])
    with mock.patch.object(stage, "WorkerProcesses", meddled):
        found = shop.run(max_skipped="5%", decode_workers=2, batch_size=64)
    assert found.summary.upserted == MANY - KILLERS
    assert found.summary.reasons == {"not an image": KILLERS}
    assert shop.embedded == MANY - KILLERS
    assert not children()


def test_processes_that_somebody_kills_cost_nothing(shop):
    shop.stock(products(300))
    visit, visited, killed = ProcessDecoder._visit, [], []

    def killing(self, worker, flags):
        visited.append(worker)
        if len(visited) % 2:
            os.kill(worker._process.pid, signal.SIGKILL)
            killed.append(worker._process.pid)
        return visit(self, worker, flags)

    with mock.patch.object(ProcessDecoder, "_visit", killing):
        found = shop.run()
    assert found.summary.upserted == 300
    assert len(set(killed)) >= 3
    assert shop.embedded == 300


def test_a_killed_run_leaves_no_process_and_the_next_one_finishes(tmp_path):
    shop = SmallShop(tmp_path, str(tmp_path / "milvus.db"), decode_in="processes")
    shop.stock(products(400))
    parent = os.fork()
    if not parent:
        try:
            shop.run()
        finally:
            os._exit(1)
    deadline = time.monotonic() + 60
    while not (workers := children(parent)):
        assert time.monotonic() < deadline, "it started no process"
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers):
        assert time.monotonic() < deadline, "a process outlives its parent"
        time.sleep(0.01)
    shop.run()
    assert len(shop.rows()) == 400


def test_a_program_that_cannot_start_ends_the_run_with_one_line(shop):
    shop.stock(products(3))
    broken = partial(WorkerProcesses, command=[sys.executable, "-c", "raise SystemExit(3)"])
    with mock.patch.object(stage, "WorkerProcesses", broken), pytest.raises(EngineError, match="cannot start"):
        shop.run()
    assert shop.run().summary.upserted == 3
