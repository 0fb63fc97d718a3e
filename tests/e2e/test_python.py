"""`import ingest` in programs as people write them, each in a process of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from support.heavy_imports import HEAVY
from support.shop import BATCH, run_anew, run_in, sample_products, spied

if TYPE_CHECKING:
    from pathlib import Path

    from support.shop import Shop

MORE = 12
"""Products that are new to the shop: three batches."""

BEGIN = """
import asyncio, multiprocessing, os, signal, sys, threading, time

signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where a shell runs tests in the background

def found():
    # torch sets one for itself
    own = {name: value for name, value in os.environ.items() if not name.startswith("TORCHINDUCTOR_")}
    return own, signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.stdout, sys.stderr

before = found()
import ingest
OWN = dict(catalog="products.csv", data="data", model=MODEL, batch_size=4, decode_in="processes")
PLANNED = {name: value for name, value in OWN.items() if name != "batch_size"}

def check():
    assert found() == before
    here, ends = threading.current_thread(), time.monotonic() + 10
    while here is threading.main_thread() and threading.enumerate() != [here]:
        assert time.monotonic() < ends, threading.enumerate()
        time.sleep(0.02)  # gRPC's server, in Milvus Lite, ends its threads a moment later
    children = [open(f"/proc/{child}/stat").read().split(") ")[1][0] for child in
                open(f"/proc/self/task/{threading.get_native_id()}/children").read().split()]
    assert all(state == "Z" for state in children), children
"""
ONE = """
summary = ingest.run(**OWN)
print(summary.embedded, summary.upserted, summary.products)
check()
"""


def program(shop: Shop, text: str) -> str:
    return f"MODEL = {str(shop.model)!r}\n{BEGIN}\n{text}"


def in_process(shop: Shop, text: str, **environment: str) -> list[str]:
    """Run a program in the shop's folder, which must succeed and say nothing; return the words of its output."""
    ended = run_in(shop.folder, [sys.executable, "-c", program(shop, text)], **environment)
    assert (ended.code, ended.err) == (0, ""), ended.err
    return ended.out.split()


@pytest.fixture
def larger(shop: Shop) -> Shop:
    """Put more products on sale."""
    shop.stock(sample_products(40 + MORE))
    return shop


EXPECTED = [str(MORE), str(MORE), str(40 + MORE)]


def test_it_works_in_a_thread_that_is_not_the_main_one(larger):
    threaded = f"""
def work():
    {ONE.strip().replace(chr(10), chr(10) + "    ")}
thread = threading.Thread(target=work)
thread.start()
thread.join()
check()
"""
    assert in_process(larger, threaded) == EXPECTED


def test_it_works_in_a_running_event_loop_and_beside_it(larger):
    looped = """
async def main():
    plan = ingest.plan(**PLANNED)  # as in a notebook's cell
    assert plan.embed == 12, plan
    ticks = 0
    task = asyncio.create_task(asyncio.to_thread(ingest.run, **OWN))
    while not task.done():
        await asyncio.sleep(0.02)
        ticks += 1
    summary = await task
    print(summary.embedded, summary.upserted, summary.products)
    assert ticks > 3
asyncio.run(main())
check()
"""
    assert in_process(larger, looped) == EXPECTED


def test_it_works_in_a_daemonic_process_that_was_forked_after_the_import(larger):
    daemonic = f"""
def work():
    {ONE.strip().replace(chr(10), chr(10) + "    ")}
    sys.stdout.flush()
process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
process.start()
process.join()
assert process.exitcode == 0, process.exitcode
"""
    assert in_process(larger, daemonic) == EXPECTED


def test_it_works_in_a_script_without_a_main_guard(larger):
    script = larger.folder / "nightly.py"
    text = 'print(ingest.plan(**PLANNED).embed)\nopen("started", "a").write("once")\ncheck()\n'
    script.write_text(program(larger, text))

    ended = run_anew(larger.folder, [sys.executable, script])

    assert (ended.code, ended.out.split(), ended.err) == (0, [str(MORE)], "")
    assert (larger.folder / "started").read_text() == "once"


def test_two_calls_in_one_process_and_the_second_has_nothing_to_do(larger):
    twice = ONE + "again = ingest.run(**OWN)\nprint(again.embedded, again.upserted, again.unchanged)\ncheck()\n"
    assert in_process(larger, twice) == [*EXPECTED, "0", "0", str(40 + MORE)]


def test_of_two_calls_at_once_on_a_data_folder_one_is_refused(larger, tmp_path):
    at_once = """
refused = []
def second(event):
    if event.stage == "embedding" and not refused:
        try:
            ingest.run(**OWN)
        except ingest.BusyError as error:
            refused.append(str(error))
summary = ingest.run(**OWN, progress=second)
assert len(refused) == 1 and "if it is this program" in refused[0], refused
print(summary.embedded)
check()
"""
    assert in_process(larger, at_once, **spied(tmp_path / "log", pause_s=0.3)) == [str(MORE)]


def test_calls_on_several_data_folders_go_on_at_once(larger):
    at_once = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(3) as pool:
    summaries = pool.map(lambda data: ingest.run(**{**OWN, "data": data}), ["data", "second", "third"])
    print(*[summary.embedded for summary in summaries])
check()
"""
    assert in_process(larger, at_once) == [str(MORE), str(40 + MORE), str(40 + MORE)]


INTERRUPTED = """
def press():
    while not interrupted.wait(0.01):
        pass
    os.kill(os.getpid(), signal.SIGINT)

interrupted = threading.Event()
presser = threading.Thread(target=press)
presser.start()
try:
    ingest.run(**OWN, progress=lambda event: interrupted.set() if event.stage == "embedding" else None)
except KeyboardInterrupt:
    presser.join()
    check()
    print("interrupted")
summary = ingest.run(**OWN)
print(summary.embedded, summary.products)
check()
"""


def test_an_interrupted_cell_leaves_nothing_running_and_loses_nothing(larger, tmp_path):
    said, embedded, products = in_process(larger, INTERRUPTED, **spied(tmp_path / "log", pause_s=0.4))

    assert (said, products) == ("interrupted", str(40 + MORE))
    assert int(embedded) <= MORE - BATCH, "what was embedded before is stored"


TWICE = """
def press():
    while not interrupted.wait(0.01):
        pass
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)

interrupted = threading.Event()
presser = threading.Thread(target=press)
presser.start()
try:
    ingest.run(**OWN, progress=lambda event: interrupted.set() if event.stage == "embedding" else None)
except KeyboardInterrupt:
    presser.join()
    assert "ingest" in [thread.name for thread in threading.enumerate()], "it goes on to its end"
check()
print(ingest.run(**OWN).products)
"""


def test_a_second_interruption_does_not_wait_and_the_work_ends_by_itself(larger, tmp_path):
    assert in_process(larger, TWICE, **spied(tmp_path / "log", pause_s=1.5)) == [str(40 + MORE)]


def test_a_stop_event_and_an_error_in_the_callers_function_end_a_run_early(larger, tmp_path):
    stopped = """
stop = threading.Event()
try:
    ingest.run(**OWN, stop=stop, progress=lambda event: stop.set() if event.stage == "embedding" else None)
except ingest.InterruptedRunError as error:
    assert "call it again to go on" in str(error), error
    print("stopped")
check()

def fail(event):
    if event.stage == "embedding":
        raise LookupError("mine")
try:
    ingest.run(**OWN, progress=fail)
except LookupError as error:
    print(error)
check()
"""
    assert in_process(larger, stopped, **spied(tmp_path / "log", pause_s=0.3)) == ["stopped", "mine"]


def test_bars_are_lines_in_a_log_and_only_if_they_are_wanted(larger):
    ended = run_in(larger.folder, [sys.executable, "-c", program(larger, "ingest.run(**OWN, progress=True)\ncheck()")])
    assert (ended.code, ended.out) == (0, "")
    assert all(line.startswith("ingest: after ") for line in ended.err.splitlines())


def test_a_connection_of_another_process_is_refused_not_waited_for(shop):
    forked = """
products = ingest.connect(data="data", model=MODEL)
def work():
    try:
        products.similar("P0001")
    except ingest.MilvusError as error:
        print(error)
    sys.stdout.flush()
    os._exit(0)  # pymilvus joins threads at the end that stayed behind
process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join(20)
assert process.exitcode == 0, process.exitcode
assert len(products.similar("P0001", limit=3)) == 3
products.close()
"""
    assert "made by another process; connect again" in " ".join(in_process(shop, forked))


SEARCHED = """
with ingest.connect(data="data", catalog="products.csv", model=MODEL) as products:
    hits = products.search("red mug", filter="price < 20", limit=5)
    assert hits.ids and all(hit.metadata["price"] < 20 for hit in hits), hits
    near = products.search(image="images/P0017.jpg", limit=3)
    assert near[0].product_id == "P0017" and near[0].score > 0.99, near
    away = products.search("red mug", product="P0017", text_weight=0.5)
    assert "P0017" not in away.ids
    assert "<img" in hits._repr_html_()
with ingest.connect(data="data") as products:
    try:
        products.search("red mug")
    except ingest.ModelError as error:
        print(error)
check()
"""


def test_a_connection_that_nobody_closed_is_closed_with_the_program_or_when_it_is_dropped(shop):
    dropped = """
products = ingest.connect(data="data")
products = None
import gc; gc.collect()
products = ingest.connect(data="data")
print(len(products.similar("P0001", limit=3)))
"""
    script = shop.folder / "ask.py"
    script.write_text(program(shop, dropped))
    ended = run_anew(shop.folder, [sys.executable, script])
    assert (ended.code, ended.out, ended.err) == (0, "3\n", "")


def test_products_are_searched_by_text_and_image_with_the_model_of_the_run(shop):
    said = " ".join(in_process(shop, SEARCHED))
    assert "was built with clip, a model in a local folder; name the folder: ingest.connect(..., model=" in said


IMPORT = """
import sys
before = set(sys.modules)
import ingest
assert set(sys.modules) - before == {"ingest"}, set(sys.modules) - before
assert "run" in dir(ingest) and not hasattr(ingest, "rum")
try:
    ingest.search("red mug")
except AttributeError as error:
    assert str(error) == "module 'ingest' has no attribute 'search'; call ingest.connect(uri).search(…)"
else:
    raise AssertionError
ingest.RunSummary, ingest.MilvusError
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""
HEAVY_HERE = HEAVY | {"click"}


def test_the_import_takes_nothing_but_the_name_and_errors_and_results_little(tmp_path: Path):
    ended = run_anew(tmp_path, [sys.executable, "-c", IMPORT])
    assert (ended.code, ended.err) == (0, "")
    assert HEAVY_HERE & set(ended.out.split()) == set()
